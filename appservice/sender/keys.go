package sender

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
)

const (
	// maxKeyAnswer is how much of an answer about keys is read.
	maxKeyAnswer = 4 << 20
	// withoutKeys is how long it is believed that a service keeps no keys by
	// itself, and silentKeys for how long one is not asked that did not answer.
	withoutKeys = 10 * time.Minute
	silentKeys  = 30 * time.Second
)

// KeepsKeys reports whether the user belongs to a service alone that may keep
// the user's keys by itself.
func (s *Service) KeepsKeys(user matrix.UserID) bool {
	owner := s.opts.Registry.Load().UserOwner(user)
	return owner != nil && owner.URL != "" &&
		(s.asks(owner.ID, appservice.KeyClaimPath()) || s.asks(owner.ID, appservice.KeyQueryPath()))
}

// asks reports whether a service is worth being asked for keys.
func (s *Service) asks(id string, path appservice.Path) bool {
	return !s.believed(id + "\n" + path.Stable)
}

// ClaimKeys asks the services that own the users for one-time keys of some
// algorithms (MSC3983). Who does not answer in time is left out.
func (s *Service) ClaimKeys(ctx context.Context, wanted map[matrix.UserID]map[matrix.DeviceID][]string) []appservice.KeyAnswer {
	return askForKeys(ctx, s, appservice.KeyClaimPath(), wanted)
}

// QueryKeys asks the services that own the users for their keys, of some
// devices or, if there is none in a list, of all (MSC3984).
func (s *Service) QueryKeys(ctx context.Context, wanted map[matrix.UserID][]matrix.DeviceID) []appservice.KeyAnswer {
	return askForKeys(ctx, s, appservice.KeyQueryPath(), wanted)
}

func askForKeys[V any](ctx context.Context, s *Service, path appservice.Path, wanted map[matrix.UserID]V) []appservice.KeyAnswer {
	set, shares := s.opts.Registry.Load(), map[string]map[matrix.UserID]V{}
	for user, what := range wanted {
		owner := set.UserOwner(user)
		if owner == nil || owner.URL == "" || !s.asks(owner.ID, path) {
			continue
		}
		if shares[owner.ID] == nil {
			shares[owner.ID] = map[matrix.UserID]V{}
		}
		shares[owner.ID][user] = what
	}
	if len(shares) == 0 {
		return nil
	}
	// Whoever asked may leave meanwhile; that says nothing about the service.
	ctx, cancel := context.WithTimeout(s.aborted, s.opts.KeysTimeout)
	defer cancel()
	var mu sync.Mutex
	var answers []appservice.KeyAnswer
	var all sync.WaitGroup
	for id, share := range shares {
		body, err := json.Marshal(share)
		q := s.queue(id)
		if err != nil || q == nil {
			continue
		}
		all.Go(func() {
			answer, ok := s.askKeys(ctx, q, path, body)
			if !ok {
				return
			}
			var users []matrix.UserID
			for user := range share {
				users = append(users, user)
			}
			slices.Sort(users)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, appservice.KeyAnswer{Users: users, Body: answer})
		})
	}
	all.Wait()
	return answers
}

// askKeys puts one question to one service, and remembers for a while if that
// was in vain.
func (s *Service) askKeys(ctx context.Context, q *queue, path appservice.Path, body []byte) ([]byte, bool) {
	_, link := q.to()
	var begun atomic.Int64 // when somebody turned to the service
	turned := func() { begun.CompareAndSwap(0, time.Now().UnixNano()) }
	a, err := link.do(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart: func(string, string) { turned() }, GotConn: func(httptrace.GotConnInfo) { turned() },
	}), request{method: http.MethodPost, path: path, body: body, limit: maxKeyAnswer})
	switch {
	case err == nil && a.ok():
		return a.body, true
	case err == nil && a.unknownRoute():
		s.refused.Put(q.id+"\n"+path.Stable, time.Now().Add(withoutKeys))
		return nil, false
	case ctx.Err() != nil && (begun.Load() == 0 || time.Since(time.Unix(0, begun.Load())) < s.opts.KeysTimeout/2):
		return nil, false // the service had hardly any time, since so many others ask
	}
	s.refused.Put(q.id+"\n"+path.Stable, time.Now().Add(silentKeys))
	q.log.Warn("application service was asked for keys in vain", "path", path.Stable, "status", a.status, "error", err)
	return nil, false
}
