package federation

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// MaxKeyQueries is of how many servers the keys can be asked for at once.
const MaxKeyQueries = 100

// A KeyQuery asks for the keys of a server.
type KeyQuery struct {
	Server matrix.ServerName
	// ValidUntil is until when they should be valid, in milliseconds; 0: now.
	ValidUntil int64
}

const (
	// notaryAtOnce is how many servers are asked at the same time for one request, and notaryTime how long
	// that takes at most: what has come by then is the answer.
	notaryAtOnce = 8
	notaryTime   = 20 * time.Second
)

// Attest is what servers say about their keys, signed by this one as well (§ Querying Keys Through Another
// Server). Servers of which nothing is known are left out. from is the address of those who ask.
func (k *KeyRing) Attest(ctx context.Context, queries []KeyQuery, from string) ([]json.RawMessage, error) {
	limited, cancel := context.WithTimeout(ctx, notaryTime)
	defer cancel()
	answers, errs := make([]json.RawMessage, len(queries)), make([]error, len(queries))
	turns := make(chan struct{}, notaryAtOnce)
	var all sync.WaitGroup
	for i, q := range queries {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			answers[i], errs[i] = k.attest(limited, q, from)
		})
	}
	all.Wait()
	list := []json.RawMessage{}
	for i, answer := range answers {
		if answer != nil {
			list = append(list, answer)
			continue
		}
		// A server that could not be asked is left out; what is wrong here is not hidden.
		if err := errs[i]; err != nil && limited.Err() == nil {
			return nil, err
		}
	}
	return list, ctx.Err()
}

func (k *KeyRing) attest(ctx context.Context, q KeyQuery, from string) (json.RawMessage, error) {
	if q.Server == k.options.ServerName {
		return k.Own()
	}
	if _, err := matrix.ParseServerName(string(q.Server)); err != nil || !k.options.Client.Allowed(q.Server) {
		return nil, nil
	}
	known, err := k.options.Store.Answer(ctx, k.options.DB.Read(), q.Server)
	if err != nil {
		return nil, err
	}
	if !fresh(known, q.ValidUntil, k.options.Now().UnixMilli()) {
		_, err := k.renew(ctx, q.Server, from)
		if err != nil && (known.Answer == nil || matrix.Code(err) != "M_LIMIT_EXCEEDED") {
			return nil, err
		}
		if known, err = k.options.Store.Answer(ctx, k.options.DB.Read(), q.Server); err != nil {
			return nil, err
		}
	}
	if known.Answer == nil {
		return nil, nil
	}
	return matrix.SignJSON(known.Answer, k.options.ServerName, k.options.Key)
}

// fresh reports whether an answer is passed on without its server being asked again: for half of the
// time for which it is valid.
func fresh(a storage.ServerKeyAnswer, validUntil, now int64) bool {
	return a.Answer != nil && a.ValidUntil >= max(validUntil, now) && now < a.FetchedAt+(a.ValidUntil-a.FetchedAt)/2
}
