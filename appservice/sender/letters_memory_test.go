package sender_test

import (
	"context"
	"errors"
	"maps"
	"slices"

	"trestle/appservice"
)

func (m *memory) Pause(_ context.Context, p appservice.Pause) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pauses[p.Service] = p
	return nil
}

func (m *memory) Resume(_ context.Context, service string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pauses, service)
	return nil
}

func (m *memory) Paused(_ context.Context, service string) (*appservice.Pause, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.pauses[service]; ok {
		return &p, nil
	}
	return nil, nil
}

func (m *memory) Bury(ctx context.Context, number int64, l appservice.DeadLetter) (int64, error) {
	m.mu.Lock()
	i := slices.IndexFunc(m.frozen[l.Service], func(f appservice.Frozen) bool { return f.Number == number })
	if i < 0 {
		m.mu.Unlock()
		return 0, errors.New("it does not wait")
	}
	f := m.frozen[l.Service][i]
	m.last++
	l.Number, l.Transaction, l.Position, l.Events, l.Oldest = m.last, f.ID, f.Position, f.Events, f.Oldest
	l.Size, l.Body = len(f.Body), f.Body
	m.letters = append(m.letters, l)
	m.mu.Unlock()
	return l.Number, m.Acknowledge(ctx, l.Service, number)
}

func (m *memory) Letters(_ context.Context, service string, after int64, limit int) ([]appservice.DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []appservice.DeadLetter
	for _, l := range m.letters {
		if (service == "" || l.Service == service) && l.Number > after && len(list) < limit {
			l.Body = nil
			list = append(list, l)
		}
	}
	return list, nil
}

// at is where a letter is.
func (m *memory) at(number int64) int {
	return slices.IndexFunc(m.letters, func(l appservice.DeadLetter) bool { return l.Number == number })
}

func (m *memory) Letter(_ context.Context, number int64) (*appservice.DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.at(number); i >= 0 {
		l := m.letters[i]
		return &l, nil
	}
	return nil, nil
}

func (m *memory) CountLetters(ctx context.Context, service string) (int, error) {
	list, err := m.Letters(ctx, service, 0, 1<<30)
	return len(list), err
}

func (m *memory) LetterFailed(_ context.Context, number int64, problem string, at int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.at(number); i >= 0 {
		l := &m.letters[i]
		l.Attempts, l.LastError, l.FailedAt = l.Attempts+1, problem, at
	}
	return nil
}

func (m *memory) RemoveLetter(_ context.Context, number int64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.at(number)
	if i >= 0 {
		m.letters = slices.Delete(m.letters, i, i+1)
	}
	return i >= 0, nil
}

func (m *memory) BuryAll(ctx context.Context, acked, upTo int64, l appservice.DeadLetter) (transactions, events int, err error) {
	waiting, _ := m.Waiting(ctx, l.Service, acked)
	for _, f := range waiting {
		if _, err := m.Bury(ctx, f.Number, l); err != nil {
			return 0, 0, err
		}
		l.Attempts, l.LastError, l.FailedAt = 0, "", 0
		events += f.Events
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.cursors[l.Service]
	c.Number, c.SkippedFrom, c.Skipped = c.Number+1, 0, max(c.Skipped, upTo)
	m.cursors[l.Service] = c
	return len(waiting), events, nil
}

func (m *memory) place(service string) appservice.Place {
	p := appservice.Place{Service: service, Position: m.cursors[service].Position, Frozen: len(m.frozen[service])}
	for _, f := range m.frozen[service] {
		p.Events += f.Events
	}
	for _, l := range m.letters {
		if l.Service == service {
			p.Letters++
		}
	}
	_, p.Paused = m.pauses[service]
	return p
}

func (m *memory) Places(context.Context) (list []appservice.Place, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, service := range slices.Sorted(maps.Keys(m.cursors)) {
		list = append(list, m.place(service))
	}
	return list, nil
}

func (m *memory) Forget(_ context.Context, service string) (*appservice.Place, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.place(service)
	if _, ok := m.cursors[service]; !ok {
		return nil, nil
	}
	delete(m.cursors, service)
	delete(m.frozen, service)
	delete(m.pauses, service)
	m.letters = slices.DeleteFunc(m.letters, func(l appservice.DeadLetter) bool { return l.Service == service })
	return &p, nil
}
