package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trestle/registration"
)

const (
	// crowdSpaces is the expressions of each service of a busy bridge host, and
	// crowdSenders how many people talk meanwhile.
	crowdSpaces  = 100
	crowdSenders = 16
	// crowdRounds is how often it is measured with and without them.
	crowdRounds = 6
)

// crowd is what the namespaces of many services cost those who send: with and
// without them in turn, because a machine's speed changes.
func (b *run) crowd() error {
	folder := filepath.Join(b.server.folder, "appservices")
	regs, err := crowd(b.options.Services)
	if err != nil {
		return err
	}
	talk := *b
	talk.options.Duration /= crowdRounds
	var ratios []float64
	for round := range crowdRounds {
		var rates [2]float64
		for i := range rates {
			with := (i + round) % 2
			if err := b.change(folder, regs, with == 1); err != nil {
				return err
			}
			label := fmt.Sprint("crowd", round, with)
			f, err := talk.flood(label, min(len(b.users), crowdSenders), func(n int) string { return b.users[n].room })
			if err != nil {
				return err
			}
			rates[with] = f.perSecond
		}
		ratios = append(ratios, rates[1]/rates[0])
	}
	slices.Sort(ratios)
	b.figure(fmt.Sprintf("sends/s with %d services that have %d expressions", len(regs), len(regs)*crowdSpaces),
		"%.0f%% of those without (median of %d rounds)", 100*ratios[len(ratios)/2], crowdRounds)
	return b.change(folder, regs, false)
}

// crowd is services that are not spoken to.
func crowd(services int) ([]*registration.Registration, error) {
	var regs []*registration.Registration
	for i := range services {
		reg := registration.Generate(fmt.Sprint("crowd", i), "", fmt.Sprint("crowd", i))
		for j := range crowdSpaces {
			space, err := registration.NewNamespace(fmt.Sprintf("@net%d_%d_.*:bench", i, j), true)
			if err != nil {
				return nil, err
			}
			reg.Namespaces.Users = append(reg.Namespaces.Users, space)
		}
		regs = append(regs, reg)
	}
	return regs, nil
}

// change puts registrations in force or takes them away, and waits until the
// server has noticed.
func (b *run) change(folder string, regs []*registration.Registration, wanted bool) error {
	for _, reg := range regs {
		path := filepath.Join(folder, reg.ID+".yaml")
		var err error
		if wanted {
			err = reg.Write(path)
		} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		known := 0
		for _, reg := range regs {
			if b.client.call(b.ctx, http.MethodGet, "/_matrix/client/v3/account/whoami", reg.ASToken, nil, nil) == nil {
				known++
			}
		}
		if wanted && known == len(regs) || !wanted && known == 0 {
			return nil
		}
	}
	return errors.New("the server does not notice that registrations have changed")
}

// watchMemory samples the memory of a server until it is stopped, and returns
// how much more than at the beginning it had at most, in bytes.
func (s *server) watchMemory() (stop func() (int64, error), err error) {
	before, err := s.memory()
	if err != nil {
		return nil, err
	}
	type outcome struct {
		more int64
		err  error
	}
	done, result := make(chan struct{}), make(chan outcome, 1)
	go func() {
		for most := before; ; {
			now, err := s.memory()
			most = max(most, now)
			select {
			case <-done:
				result <- outcome{most - before, err}
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() (int64, error) {
		close(done)
		o := <-result
		return o.more, o.err
	}, nil
}
