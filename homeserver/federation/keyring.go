package federation

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	// ownKeysFor is how long others may believe what is said about the keys of this server.
	ownKeysFor = 24 * time.Hour
	// A server is not asked for its keys again before leastKeyPause, and after failures before
	// firstKeyPause, and twice as long after each further one.
	leastKeyPause   = time.Minute
	firstKeyPause   = 30 * time.Second
	longestKeyPause = 10 * time.Minute
	// askingForKeys is the longest that asking a server and then each notary takes.
	askingForKeys = 10 * time.Second
	// keysAtOnce is how many servers are asked at the same time: strangers choose them.
	keysAtOnce = 32
	// knownKeys is how many keys are in memory, and knownAsked of how many servers it is known when they were asked.
	knownKeys  = 20_000
	knownAsked = 10_000
	// keysOfServer is how many keys of one server are kept, the newest ones.
	keysOfServer = 400
	// maxNotaryAnswers is how many answers a notary may have about one server.
	maxNotaryAnswers = 10
	// Servers of which nothing is kept are forgotten after staleKeys, and those beyond strangersKept sooner.
	staleKeys     = 30 * 24 * time.Hour
	strangersKept = 10_000
	sweepBatch    = 100
)

// A Limiter counts against a bucket; M_LIMIT_EXCEEDED is its error. Network is the key of those who
// come from an address.
type Limiter interface {
	AllowKey(bucket, key string) error
	Network(address string) string
}

// KeyOptions are what a [KeyRing] works with. All but Notaries, Limiter, Now and Log are needed.
type KeyOptions struct {
	ServerName matrix.ServerName
	Key        matrix.SigningKey
	Client     *Client
	DB         *database.DB
	Store      *storage.ServerKeys
	// Old are the keys with which this server signs no more, and ValidUntil is until when it did.
	Old []storage.ServerKey
	// Notaries are believed about the keys of servers that cannot be asked themselves.
	Notaries []matrix.ServerName
	// Limiter bounds for how many servers those at one address have this server ask; nil: nobody does.
	Limiter Limiter
	Now     func() time.Time
	Log     *slog.Logger
}

// A KeyRing knows which keys servers sign with.
type KeyRing struct {
	options KeyOptions
	rings   *lru.Cache[matrix.ServerName, ring]
	asked   *lru.Cache[matrix.ServerName, asking]
	flights singleflight.Group
	atOnce  chan struct{}
	life    context.Context // ends with the key ring
	end     context.CancelFunc

	mu     sync.Mutex
	closed bool
	asking sync.WaitGroup

	// saves counts what has been stored: what was read before is not remembered.
	saves atomic.Int64
}

// A ring is the keys of one server, as they are in the database.
type ring struct {
	keys []storage.ServerKey
	// kept says that they have verified an event.
	kept bool
}

// asking is when a server may be asked again.
type asking struct {
	again    time.Time
	failures int
}

// NewKeyRing makes a key ring.
func NewKeyRing(o KeyOptions) *KeyRing {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	life, end := context.WithCancel(context.Background())
	return &KeyRing{
		options: o, atOnce: make(chan struct{}, keysAtOnce), life: life, end: end,
		rings: lru.New[matrix.ServerName](knownKeys, func(r ring) int { return 1 + len(r.keys) }),
		asked: lru.New[matrix.ServerName, asking](knownAsked, nil),
	}
}

// Close gives up asking, and waits for what is being stored.
func (k *KeyRing) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.end()
	k.asking.Wait()
}

// begin reports whether a server may still be asked; if so, asking has to be done.
func (k *KeyRing) begin() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.asking.Add(1)
	}
	return !k.closed
}

// Own is the keys of this server, signed (GET /_matrix/key/v2/server).
func (k *KeyRing) Own() (json.RawMessage, error) {
	key, old := k.options.Key, map[matrix.KeyID]publishedKey{}
	for _, o := range k.options.Old {
		old[o.ID] = publishedKey{matrix.Base64(o.Public), o.ValidUntil}
	}
	raw, err := json.Marshal(map[string]any{
		"server_name":     k.options.ServerName,
		"verify_keys":     map[matrix.KeyID]publishedKey{key.ID: {Key: matrix.Base64(key.Public())}},
		"old_verify_keys": old,
		"valid_until_ts":  k.options.Now().Add(ownKeysFor).UnixMilli(),
	})
	if err != nil {
		return nil, err
	}
	return matrix.SignJSON(raw, k.options.ServerName, key)
}

// A need says which key is good enough.
type need struct {
	id matrix.KeyID
	// at is when it signed, in milliseconds, and 0 if that does not matter.
	at int64
	// now wants a key that is in use: those of former times sign no requests.
	now bool
}

func (n need) met(key storage.ServerKey) bool {
	return key.ID == n.id && n.at <= key.ValidUntil && (key.Current || !n.now)
}

// in is the key of a ring that is good enough.
func (n need) in(r ring) (ed25519.PublicKey, bool) {
	i := slices.IndexFunc(r.keys, n.met)
	if i < 0 {
		return nil, false
	}
	return r.keys[i].Public, true
}

// find is a key of a server that is good enough, for which the server is asked if need be. from is
// the address of those who make this server ask; empty: it does so itself.
func (k *KeyRing) find(ctx context.Context, server matrix.ServerName, n need, from string) (ed25519.PublicKey, error) {
	if server == k.options.ServerName {
		if key, ok := n.in(k.own()); ok {
			return key, nil
		}
		return nil, noSuchKey(server, n.id)
	}
	known, err := k.ring(ctx, server)
	if err != nil {
		return nil, err
	}
	if key, ok := n.in(known); ok {
		return key, nil
	}
	if known, err = k.renew(ctx, server, from); err != nil {
		return nil, err
	}
	if key, ok := n.in(known); ok {
		return key, nil
	}
	return nil, noSuchKey(server, n.id)
}

// own is the keys of this server.
func (k *KeyRing) own() ring {
	own := storage.ServerKey{ID: k.options.Key.ID, Public: k.options.Key.Public(), ValidUntil: math.MaxInt64, Current: true}
	return ring{keys: append([]storage.ServerKey{own}, k.options.Old...), kept: true}
}

func noSuchKey(server matrix.ServerName, id matrix.KeyID) error {
	return matrix.Unauthorized("The key %s of %s is not known, or not valid any more.", id, server)
}

// ring is the keys of a server that are known.
func (k *KeyRing) ring(ctx context.Context, server matrix.ServerName) (ring, error) {
	if known, ok := k.rings.Get(server); ok {
		return known, nil
	}
	var known ring
	var answer storage.ServerKeyAnswer
	saves := k.saves.Load()
	err := k.options.DB.View(ctx, func(q database.Querier) (err error) {
		if answer, err = k.options.Store.Answer(ctx, q, server); err != nil {
			return err
		}
		known.kept = answer.Kept
		known.keys, err = k.options.Store.Keys(ctx, q, server, keysOfServer)
		return err
	})
	if err != nil {
		return ring{}, fmt.Errorf("keys of %s: %w", server, err)
	}
	if answer.Answer != nil && saves == k.saves.Load() {
		k.rings.Put(server, known)
	}
	return known, nil
}

// save stores what a server has said.
func (k *KeyRing) save(ctx context.Context, answer storage.ServerKeyAnswer, keys []storage.ServerKey, direct bool) error {
	err := k.options.DB.Update(ctx, func(tx *database.Tx) error {
		before, err := k.options.Store.Answer(ctx, tx, answer.Server)
		if err != nil {
			return err
		}
		known, err := k.options.Store.Keys(ctx, tx, answer.Server, keysOfServer)
		if err != nil {
			return err
		}
		stored, list := answer, keys
		if direct {
			list = withRevoked(keys, known, answer.FetchedAt)
		} else if before.ValidUntil > answer.ValidUntil {
			// A notary may have what is older than what is known: that adds keys, and replaces none.
			stored.Answer, stored.ValidUntil = before.Answer, before.ValidUntil
			list = slices.DeleteFunc(slices.Clone(keys), func(key storage.ServerKey) bool { return has(known, key.ID) })
		}
		return k.options.Store.Save(ctx, tx, stored, list, keysOfServer)
	})
	k.saves.Add(1)
	k.rings.Delete(answer.Server)
	if err != nil {
		return fmt.Errorf("store the keys of %s: %w", answer.Server, err)
	}
	return nil
}

// withRevoked adds those keys that a server does not have any more, and so are not valid from now on.
func withRevoked(keys, known []storage.ServerKey, now int64) []storage.ServerKey {
	list := slices.Clone(keys)
	for _, key := range known {
		if key.Current && !has(keys, key.ID) {
			key.Current, key.ValidUntil = false, min(key.ValidUntil, now)
			list = append(list, key)
		}
	}
	return list
}

func has(keys []storage.ServerKey, id matrix.KeyID) bool {
	return slices.ContainsFunc(keys, func(key storage.ServerKey) bool { return key.ID == id })
}

// Tidy forgets servers that have not been asked for long, and with whose keys nothing was verified that is
// here.
func (k *KeyRing) Tidy(ctx context.Context) error {
	before := k.options.Now().Add(-staleKeys).UnixMilli()
	for ctx.Err() == nil {
		var deleted int
		err := k.options.DB.Update(ctx, func(tx *database.Tx) (err error) {
			deleted, err = k.options.Store.DeleteStale(ctx, tx, before, strangersKept, sweepBatch)
			return err
		})
		if err != nil || deleted == 0 {
			return err
		}
		k.rings.Clear() // nothing of them is used from memory, either
	}
	return ctx.Err()
}
