package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// renew asks for the keys of a server, unless that was done a moment ago, and is what is known then. Many who
// want the same are one.
func (k *KeyRing) renew(ctx context.Context, server matrix.ServerName, from string) (ring, error) {
	if last, ok := k.asked.Get(server); ok && k.options.Now().Before(last.again) {
		return k.ring(ctx, server)
	}
	if limiter := k.options.Limiter; limiter != nil && from != "" {
		if err := limiter.AllowKey("keys", limiter.Network(from)); err != nil {
			return ring{}, err
		}
	}
	came := k.flights.DoChan(string(server), func() (any, error) {
		if last, ok := k.asked.Get(server); ok && k.options.Now().Before(last.again) {
			return nil, nil // somebody else's flight has just landed
		}
		if !k.begin() {
			return nil, context.Canceled
		}
		defer k.asking.Done()
		// Who wanted it first may go away; the others go on.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(k.life, cancel)()
		select {
		case k.atOnce <- struct{}{}:
			defer func() { <-k.atOnce }()
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(askingForKeys):
			return nil, matrix.LimitExceeded(askingForKeys)
		}
		return nil, k.ask(ctx, server)
	})
	select {
	case result := <-came:
		if result.Err != nil {
			return ring{}, result.Err
		}
		return k.ring(ctx, server)
	case <-ctx.Done():
		return ring{}, ctx.Err()
	}
}

// ask asks a server for its keys, and if it does not say them, the notaries. What they have
// said is stored. An error is one of the database.
func (k *KeyRing) ask(ctx context.Context, server matrix.ServerName) error {
	ctx, cancel := context.WithTimeout(ctx, askingForKeys*time.Duration(1+len(k.options.Notaries)))
	defer cancel()
	answer, keys, err := k.askDirectly(ctx, server)
	direct := err == nil
	if err != nil {
		k.options.Log.DebugContext(ctx, "a server does not say its keys", "server", server, "err", err)
	}
	for _, notary := range k.options.Notaries {
		if err == nil || notary == server || notary == k.options.ServerName || !k.options.Client.Allowed(server) {
			continue
		}
		if answer, keys, err = k.askNotary(ctx, notary, server); err != nil {
			k.options.Log.DebugContext(ctx, "a notary does not say the keys of a server", "notary", notary, "server", server, "err", err)
		}
	}
	// Whoever sees that it has been asked reads what it has said.
	defer k.noteAsked(server, err == nil)
	if err != nil {
		return nil
	}
	return k.save(ctx, answer, keys, direct)
}

func (k *KeyRing) noteAsked(server matrix.ServerName, answered bool) {
	now := k.options.Now()
	if answered {
		k.asked.Put(server, asking{again: now.Add(leastKeyPause)})
		return
	}
	last, _ := k.asked.Get(server)
	pause := min(firstKeyPause<<min(last.failures, 10), longestKeyPause)
	k.asked.Put(server, asking{again: now.Add(pause), failures: last.failures + 1})
}

// askDirectly asks the server itself. What it says is believed because of its certificate.
func (k *KeyRing) askDirectly(ctx context.Context, server matrix.ServerName) (answer storage.ServerKeyAnswer, keys []storage.ServerKey, err error) {
	raw, err := k.options.Client.Bytes(ctx, Request{
		To: server, Method: http.MethodGet, URI: "/_matrix/key/v2/server",
		Limit: maxKeyAnswer, Timeout: askingForKeys, Unsigned: true,
		Urgent: true, // whoever was away may be back, and be refused because their keys are not known
	})
	if err != nil {
		return answer, nil, err
	}
	return parseKeyAnswer(raw, server, k.options.Now())
}

// askNotary asks another server, whose signature has to be on what it says.
func (k *KeyRing) askNotary(ctx context.Context, notary, server matrix.ServerName) (newest storage.ServerKeyAnswer, all []storage.ServerKey, err error) {
	var said struct {
		Keys []json.RawMessage `json:"server_keys"`
	}
	now := k.options.Now()
	err = k.options.Client.JSON(ctx, Request{
		To: notary, Method: http.MethodGet, Timeout: askingForKeys, Unsigned: true, Limit: maxNotaryAnswers * maxKeyAnswer,
		URI: "/_matrix/key/v2/query/" + url.PathEscape(string(server)) + "?minimum_valid_until_ts=" + strconv.FormatInt(now.UnixMilli(), 10),
	}, &said)
	if err != nil {
		return newest, nil, err
	}
	if len(said.Keys) > maxNotaryAnswers {
		return newest, nil, fmt.Errorf("%w: %s has %d answers about one server", ErrAnswer, notary, len(said.Keys))
	}
	err = fmt.Errorf("%w: %s has nothing about %s", ErrAnswer, notary, server)
	for _, raw := range said.Keys {
		answer, keys, wrong := parseKeyAnswer(raw, server, now)
		if wrong == nil {
			wrong = k.attested(ctx, notary, answer.Answer)
		}
		if wrong != nil {
			err = wrong
			continue
		}
		all = merge(all, keys)
		if answer.ValidUntil > newest.ValidUntil {
			newest = answer
		}
	}
	if newest.Answer == nil {
		return newest, nil, err
	}
	return newest, all, nil
}

// attested checks a notary's signature, with one of the keys that it says itself it has.
func (k *KeyRing) attested(ctx context.Context, notary matrix.ServerName, answer []byte) error {
	var signed keyAnswer
	if err := json.Unmarshal(answer, &signed); err != nil {
		return err
	}
	for id := range signed.Signatures[notary] {
		if !validKeyID(id) {
			continue
		}
		known, err := k.ring(ctx, notary)
		if err != nil {
			return err
		}
		n := need{id: id, at: k.options.Now().UnixMilli(), now: true}
		public, ok := n.in(known)
		if !ok {
			// Not by the way that others go, which may lead back here.
			last, asked := k.asked.Get(notary)
			if asked && k.options.Now().Before(last.again) {
				continue
			}
			answer, keys, err := k.askDirectly(ctx, notary)
			if err == nil {
				err = k.save(ctx, answer, keys, true)
			}
			k.noteAsked(notary, err == nil)
			if err != nil {
				return err
			}
			if known, err = k.ring(ctx, notary); err != nil {
				return err
			}
			if public, ok = n.in(known); !ok {
				continue
			}
		}
		return matrix.VerifyJSON(answer, notary, id, public)
	}
	return fmt.Errorf("%w: %s has not signed with a key that it has", ErrAnswer, notary)
}

// merge adds keys to others; of two with one ID the one that is valid longer stays.
func merge(all, more []storage.ServerKey) []storage.ServerKey {
	for _, key := range more {
		i := slices.IndexFunc(all, func(other storage.ServerKey) bool { return other.ID == key.ID })
		switch {
		case i < 0:
			all = append(all, key)
		case all[i].ValidUntil < key.ValidUntil:
			all[i] = key
		}
	}
	return all
}
