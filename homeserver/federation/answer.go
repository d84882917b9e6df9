package federation

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// maxKeyAnswer is how many bytes a server may say about its keys, and maxKeys how many it may have.
	maxKeyAnswer = 32 << 10
	maxKeys      = 200
	// longestKey is how long a key is believed without its server being asked again, whatever that says
	// (§ Publishing Keys: an attacker must not have one for years).
	longestKey = 7 * 24 * time.Hour
)

// A keyAnswer is what a server says about its keys.
type keyAnswer struct {
	Server     matrix.ServerName                               `json:"server_name"`
	ValidUntil int64                                           `json:"valid_until_ts"`
	Verify     map[matrix.KeyID]publishedKey                   `json:"verify_keys"`
	Old        map[matrix.KeyID]publishedKey                   `json:"old_verify_keys"`
	Signatures map[matrix.ServerName]map[matrix.KeyID]anything `json:"signatures"`
}

type publishedKey struct {
	Key     string `json:"key"`
	Expired int64  `json:"expired_ts,omitempty"`
}

// anything is JSON that somebody else looks at.
type anything = json.RawMessage

// parseKeyAnswer reads the keys of a server that has signed them: those in use with each of them, because who
// does not have a key cannot say that it is theirs.
func parseKeyAnswer(raw []byte, server matrix.ServerName, now time.Time) (storage.ServerKeyAnswer, []storage.ServerKey, error) {
	known := storage.ServerKeyAnswer{Server: server, FetchedAt: now.UnixMilli()}
	wrong := func(format string, args ...any) (storage.ServerKeyAnswer, []storage.ServerKey, error) {
		return known, nil, fmt.Errorf("%w: the keys of %s: %s", ErrAnswer, server, fmt.Sprintf(format, args...))
	}
	if len(raw) > maxKeyAnswer {
		return wrong("more than %d bytes", maxKeyAnswer)
	}
	canonical, err := matrix.CanonicalJSON(raw)
	if err != nil {
		return wrong("%v", err)
	}
	var a keyAnswer
	if err := json.Unmarshal(canonical, &a); err != nil {
		return wrong("%v", err)
	}
	switch {
	case a.Server != server:
		return wrong("they are those of %.100q", a.Server)
	case a.ValidUntil <= 0:
		return wrong("there is no valid_until_ts")
	case len(a.Verify)+len(a.Old) > maxKeys:
		return wrong("there are more than %d", maxKeys)
	}
	latest := now.Add(longestKey).UnixMilli()
	known.ValidUntil = min(a.ValidUntil, latest)
	var keys []storage.ServerKey
	for id, published := range a.Verify {
		public, ok := publicKey(id, published)
		if _, signs := a.Signatures[server][id]; !ok || !signs {
			continue
		}
		if err := matrix.VerifyJSON(canonical, server, id, public); err != nil {
			return wrong("%v", err)
		}
		keys = append(keys, storage.ServerKey{ID: id, Public: public, ValidUntil: known.ValidUntil, Current: true})
	}
	if len(keys) == 0 {
		return wrong("none of them has signed them")
	}
	for id, published := range a.Old {
		public, ok := publicKey(id, published)
		if _, inUse := a.Verify[id]; ok && !inUse && published.Expired > 0 {
			keys = append(keys, storage.ServerKey{ID: id, Public: public, ValidUntil: min(published.Expired, latest)})
		}
	}
	known.Answer = canonical
	return known, keys, nil
}

// publicKey is a key of the one algorithm that there is.
func publicKey(id matrix.KeyID, published publishedKey) (ed25519.PublicKey, bool) {
	public, err := matrix.DecodeBase64(published.Key)
	return public, err == nil && validKeyID(id) && len(public) == ed25519.PublicKeySize
}
