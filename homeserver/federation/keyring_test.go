package federation_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func openDB(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func (w *world) ring(db *database.DB, change ...func(*federation.KeyOptions)) *federation.KeyRing {
	o := federation.KeyOptions{
		ServerName: here, Key: w.key, Client: w.client(), DB: db, Store: storage.NewServerKeys(db), Now: w.time, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&o)
	}
	return federation.NewKeyRing(o)
}

type object = map[string]any

// keysOf is what a server says about its keys, changed, and signed with some keys.
func keysOf(t *testing.T, name matrix.ServerName, until time.Time, change func(object), keys ...matrix.SigningKey) string {
	t.Helper()
	verify := object{}
	for _, key := range keys {
		verify[string(key.ID)] = object{"key": matrix.Base64(key.Public())}
	}
	says := object{"server_name": name, "verify_keys": verify, "old_verify_keys": object{}, "valid_until_ts": until.UnixMilli()}
	if change != nil {
		change(says)
	}
	raw, err := json.Marshal(says)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if raw, err = matrix.SignJSON(raw, name, key); err != nil {
			t.Fatal(err)
		}
	}
	return string(raw)
}

// says has a peer serve its keys.
func (p *peer) says(t *testing.T, until time.Time, change func(object), keys ...matrix.SigningKey) {
	t.Helper()
	text := keysOf(t, p.name, until, change, keys...)
	p.set(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_matrix/key/v2/server" {
			answers(404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`)(w, r)
			return
		}
		answers(200, text)(w, r)
	})
}

// presented is a request of a peer, signed as the specification has it.
func presented(t *testing.T, origin, destination matrix.ServerName, key matrix.SigningKey) federation.Presented {
	t.Helper()
	const uri = "/_matrix/federation/v1/query/profile?user_id=%40a%3Ab"
	raw, err := matrix.SignJSON(fmt.Appendf(nil, `{"method":"PUT","uri":%q,"origin":%q,"destination":%q,"content":{"a":1}}`, uri, origin, destination), origin, key)
	if err != nil {
		t.Fatal(err)
	}
	var signed struct {
		Signatures map[matrix.ServerName]map[matrix.KeyID]string
	}
	if err := json.Unmarshal(raw, &signed); err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf(`X-Matrix origin=%q,destination=%q,key=%q,sig=%q`, origin, destination, key.ID, signed.Signatures[origin][key.ID])
	return federation.Presented{
		Method: "PUT", URI: uri, Authorizations: []string{"Bearer x", header}, Content: []byte(`{ "a":1}`), RemoteAddr: "192.0.2.1",
	}
}

func TestRequestsAreVerified(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t)
		p := w.peer(nil)
		p.says(t, w.now.Add(time.Hour), nil, p.key)
		ring := w.ring(openDB(t, url))
		good := presented(t, p.name, here, p.key)
		if from, err := ring.Authenticate(t.Context(), good); err != nil || from != p.name {
			t.Fatalf("%s %v", from, err)
		}
		header := good.Authorizations[1]
		for what, change := range map[string]func(*federation.Presented){
			"no header":      func(p *federation.Presented) { p.Authorizations = nil },
			"a token":        func(p *federation.Presented) { p.Authorizations = []string{"Bearer x"} },
			"another method": func(p *federation.Presented) { p.Method = "POST" },
			"another path":   func(p *federation.Presented) { p.URI += "x" },
			"another body":   func(p *federation.Presented) { p.Content = []byte(`{"a":2}`) },
			"no body":        func(p *federation.Presented) { p.Content = nil },
			"another key":    func(p *federation.Presented) { p.Authorizations = presented2(t, header, string("ed25519:other")) },
			"another destination": func(p *federation.Presented) {
				p.Authorizations[1] = strings.Replace(header, string(here), "elsewhere.example", 1)
			},
			"a second server": func(p *federation.Presented) {
				p.Authorizations = append(p.Authorizations, strings.Replace(header, string(good.Authorizations[1][len("X-Matrix origin=")+1]), "9", 1))
			},
			"too many": func(p *federation.Presented) { p.Authorizations = slices.Repeat([]string{header}, 9) },
			"itself":   func(p *federation.Presented) { *p = presented(t, here, here, w.key) },
		} {
			changed := good
			changed.Authorizations = slices.Clone(good.Authorizations)
			change(&changed)
			if from, err := ring.Authenticate(t.Context(), changed); matrix.Code(err) != "M_UNAUTHORIZED" || from != "" {
				t.Errorf("%s: %s %v", what, from, err)
			}
		}
		broken := good
		broken.Content = []byte(`{"a":`)
		if _, err := ring.Authenticate(t.Context(), broken); matrix.Code(err) != "M_NOT_JSON" {
			t.Errorf("no JSON: %v", err)
		}
		// What was for another server is not for this one, even if that is not said.
		replayed := presented(t, p.name, "elsewhere.example", p.key)
		if _, err := ring.Authenticate(t.Context(), replayed); matrix.Code(err) != "M_UNAUTHORIZED" {
			t.Errorf("a request for another server: %v", err)
		}
		replayed.Authorizations[1] = strings.Replace(replayed.Authorizations[1], `destination="elsewhere.example",`, "", 1)
		if _, err := ring.Authenticate(t.Context(), replayed); matrix.Code(err) != "M_UNAUTHORIZED" {
			t.Errorf("a request for another server that does not say so: %v", err)
		}
		older := good
		older.Authorizations = []string{strings.Replace(header, fmt.Sprintf("destination=%q,", here), "", 1)}
		if from, err := ring.Authenticate(t.Context(), older); err != nil || from != p.name {
			t.Errorf("an older server: %v", err)
		}
		if p.asked() != 1 {
			t.Errorf("the server was asked %d times for its keys", p.asked())
		}
		denying := w.ring(openDB(t, url), func(o *federation.KeyOptions) {
			o.Client = w.client(func(o *federation.ClientOptions) { o.Allowed = func(matrix.ServerName) bool { return false } })
		})
		if _, err := denying.Authenticate(t.Context(), good); matrix.Code(err) != "M_FORBIDDEN" {
			t.Errorf("a server that is not allowed: %v", err)
		}
	})
}

// presented2 is a header with another key.
func presented2(t *testing.T, header, key string) []string {
	t.Helper()
	before, after, _ := strings.Cut(header, `key="`)
	_, after, _ = strings.Cut(after, `"`)
	return []string{before + `key="` + key + `"` + after}
}

// What servers say about their keys is not believed for that alone.
func TestLyingKeys(t *testing.T) {
	w := newWorld(t)
	stranger := newKey(t)
	for what, answer := range map[string]func(p *peer) http.HandlerFunc{
		"another name": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, "other.example", w.now.Add(time.Hour), nil, p.key))
		},
		"in another name": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now.Add(time.Hour), func(o object) { o["server_name"] = "other.example" }, p.key))
		},
		"no signature": func(p *peer) http.HandlerFunc {
			return answers(200, fmt.Sprintf(`{"server_name":%q,"valid_until_ts":%d,"verify_keys":{%q:{"key":%q}},"signatures":{}}`,
				p.name, w.now.Add(time.Hour).UnixMilli(), p.key.ID, matrix.Base64(p.key.Public())))
		},
		"a wrong signature": func(p *peer) http.HandlerFunc {
			text := keysOf(t, p.name, w.now.Add(time.Hour), nil, p.key)
			return answers(200, strings.Replace(text, `"valid_until_ts":`, `"x":1,"valid_until_ts":`, 1))
		},
		"somebody else's signature": func(p *peer) http.HandlerFunc {
			text := keysOf(t, p.name, w.now.Add(time.Hour), func(o object) {
				o["verify_keys"] = object{string(p.key.ID): object{"key": matrix.Base64(p.key.Public())}}
			}, stranger)
			return answers(200, text)
		},
		"a key that others signed": func(p *peer) http.HandlerFunc {
			// The stranger's key has signed; the key that the request names has not.
			return answers(200, keysOf(t, p.name, w.now.Add(time.Hour), func(o object) {
				o["verify_keys"].(object)[string(p.key.ID)] = object{"key": matrix.Base64(p.key.Public())}
			}, stranger))
		},
		"expired": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now.Add(-time.Second), nil, p.key))
		},
		"an old key": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now.Add(time.Hour), func(o object) {
				o["old_verify_keys"] = object{string(p.key.ID): object{"key": matrix.Base64(p.key.Public()), "expired_ts": w.now.Add(time.Hour).UnixMilli()}}
			}, stranger))
		},
		"no time": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now, func(o object) { delete(o, "valid_until_ts") }, p.key))
		},
		"a short key": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now.Add(time.Hour), func(o object) {
				o["verify_keys"] = object{string(p.key.ID): object{"key": matrix.Base64(p.key.Public()[:31])}}
			}, p.key))
		},
		"too many keys": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now.Add(time.Hour), func(o object) {
				for i := range 201 {
					o["old_verify_keys"].(object)["ed25519:"+strconv.Itoa(i)] = object{"key": matrix.Base64(stranger.Public()), "expired_ts": 1}
				}
			}, p.key))
		},
		"too much": func(p *peer) http.HandlerFunc {
			return answers(200, keysOf(t, p.name, w.now.Add(time.Hour), func(o object) { o["x"] = strings.Repeat("x", 33<<10) }, p.key))
		},
		"no JSON": func(*peer) http.HandlerFunc { return answers(200, `{"server_name":`) },
		"another status": func(p *peer) http.HandlerFunc {
			return answers(201, keysOf(t, p.name, w.now.Add(time.Hour), nil, p.key))
		},
		"nothing": func(*peer) http.HandlerFunc { return answers(404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`) },
		"other types": func(p *peer) http.HandlerFunc {
			return answers(200, fmt.Sprintf(`{"server_name":%q,"verify_keys":[1]}`, p.name))
		},
	} {
		t.Run(what, func(t *testing.T) {
			p := w.peer(nil)
			p.set(answer(p))
			ring := w.ring(openDB(t, testkit.SQLite(t)))
			if from, err := ring.Authenticate(t.Context(), presented(t, p.name, here, p.key)); matrix.Code(err) != "M_UNAUTHORIZED" {
				t.Errorf("it is believed: %s %v", from, err)
			}
		})
	}
}

// Keys are kept as long as they are valid, a week at most, and asked for again after that.
func TestKeysAreRenewed(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t)
		p := w.peer(nil)
		p.says(t, w.now.Add(1000*time.Hour), nil, p.key)
		db := openDB(t, url)
		ring := w.ring(db)
		verify := func(what string, key matrix.SigningKey, requests int, want bool) {
			t.Helper()
			before := p.asked()
			_, err := ring.Authenticate(t.Context(), presented(t, p.name, here, key))
			if (err == nil) != want || p.asked()-before != requests {
				t.Errorf("%s: %v after %d requests, not %v after %d", what, err, p.asked()-before, want, requests)
			}
		}
		verify("the first time", p.key, 1, true)
		w.pass(167 * time.Hour)
		verify("within a week", p.key, 0, true)
		ring = w.ring(db)
		verify("after a start", p.key, 0, true)
		w.pass(2 * time.Hour)
		p.set(answers(502, ""))
		verify("the server is away", p.key, 1, false)
		verify("and is left alone", p.key, 0, false)
		w.pass(31 * time.Second)
		verify("for half a minute", p.key, 1, false)
		w.pass(31 * time.Second)
		verify("and twice that", p.key, 0, false)
		next := newKey(t)
		p.says(t, w.time().Add(time.Hour), func(o object) {
			o["old_verify_keys"] = object{string(p.key.ID): object{"key": matrix.Base64(p.key.Public()), "expired_ts": w.time().UnixMilli()}}
		}, next)
		w.pass(30 * time.Second)
		verify("it has a new key", next, 1, true)
		verify("and not the old one", p.key, 0, false) // asked a moment ago
		w.pass(2 * time.Minute)
		unknown := newKey(t)
		verify("a key that it does not have", unknown, 1, false)
		verify("is not asked for again", unknown, 0, false)
		w.pass(2 * time.Minute)
		// The key was stolen: its server takes it back, though it would be valid still.
		last := newKey(t)
		p.says(t, w.time().Add(time.Minute), nil, last)
		verify("another key", last, 1, true)
		verify("the one that was taken back", next, 0, false)
	})
}

// Many requests of a server whose keys are not known ask for them once.
func TestKeysAreAskedForOnce(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	p.says(t, w.now.Add(time.Hour), nil, p.key)
	ring := w.ring(openDB(t, testkit.SQLite(t)))
	request := presented(t, p.name, here, p.key)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := ring.Authenticate(t.Context(), request); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if p.asked() != 1 {
		t.Errorf("it was asked %d times", p.asked())
	}
}

// A key ring that is closed asks nobody, and waits for nobody who does not answer.
func TestClosing(t *testing.T) {
	w := newWorld(t)
	came := make(chan struct{})
	p := w.peer(func(_ http.ResponseWriter, r *http.Request) { close(came); <-r.Context().Done() })
	ring := w.ring(openDB(t, testkit.SQLite(t)))
	answered, request := make(chan error), presented(t, p.name, here, p.key)
	go func() {
		_, err := ring.Authenticate(t.Context(), request)
		answered <- err
	}()
	<-came
	ring.Close()
	if err := <-answered; err == nil {
		t.Error("it is believed")
	}
	other := w.peer(nil)
	if _, err := ring.Authenticate(t.Context(), presented(t, other.name, here, other.key)); err == nil || other.asked() != 0 {
		t.Errorf("%v after %d requests", err, other.asked())
	}
}

type counting map[string]int

func (c counting) AllowKey(bucket, key string) error {
	if c[bucket+" "+key]++; c[bucket+" "+key] > 2 {
		return matrix.LimitExceeded(time.Second)
	}
	return nil
}
func (counting) Network(address string) string { return address }

// Who has this server ask others for keys may do so a few times.
func TestAskingForKeysIsLimited(t *testing.T) {
	w := newWorld(t)
	ring := w.ring(openDB(t, testkit.SQLite(t)), func(o *federation.KeyOptions) { o.Limiter = counting{} })
	codes := []string{}
	for range 4 {
		p := w.peer(answers(404, ""))
		_, err := ring.Authenticate(t.Context(), presented(t, p.name, here, p.key))
		codes = append(codes, matrix.Code(err))
	}
	if want := []string{"M_UNAUTHORIZED", "M_UNAUTHORIZED", "M_LIMIT_EXCEEDED", "M_LIMIT_EXCEEDED"}; !slices.Equal(codes, want) {
		t.Errorf("%v", codes)
	}
}

// Servers that cannot be asked are known by a notary that is trusted, if it has signed what it says.
func TestNotaries(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t)
		away := newKey(t)
		const name matrix.ServerName = "127.0.0.1:1"
		notary := w.peer(nil)
		var mu sync.Mutex
		var said []string
		own := keysOf(t, notary.name, w.now.Add(1000*time.Hour), nil, notary.key)
		notary.set(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			switch r.URL.Path {
			case "/_matrix/key/v2/server":
				answers(200, own)(w, r)
			case "/_matrix/key/v2/query/" + string(name):
				answers(200, `{"server_keys":[`+strings.Join(said, ",")+`]}`)(w, r)
			default:
				answers(404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`)(w, r)
			}
		})
		attested := func(text string, key matrix.SigningKey) string {
			raw, err := matrix.SignJSON([]byte(text), notary.name, key)
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		db := openDB(t, url)
		trusting := func(o *federation.KeyOptions) { o.Notaries = []matrix.ServerName{here, notary.name} }
		ring := w.ring(db, trusting)
		ask := func(r *federation.KeyRing, key matrix.SigningKey) error {
			w.pass(11 * time.Minute) // nothing is left alone for longer
			_, err := r.Authenticate(t.Context(), presented(t, name, here, key))
			return err
		}
		good := keysOf(t, name, w.now.Add(24*time.Hour), nil, away)
		for what, answer := range map[string][]string{
			"nothing":                    nil,
			"what it has not signed":     {good},
			"signed with another key":    {attested(good, newKey(t))},
			"of another server":          {attested(keysOf(t, "other.example", w.now.Add(time.Hour), nil, away), notary.key)},
			"what the server did not":    {attested(strings.Replace(good, `"valid_until_ts":`, `"x":1,"valid_until_ts":`, 1), notary.key)},
			"more than there can be":     slices.Repeat([]string{attested(good, notary.key)}, 11),
			"what is not valid any more": {attested(keysOf(t, name, w.now.Add(-time.Hour), nil, away), notary.key)},
		} {
			mu.Lock()
			said = answer
			mu.Unlock()
			if err := ask(ring, away); matrix.Code(err) != "M_UNAUTHORIZED" {
				t.Errorf("%s: %v", what, err)
			}
		}
		mu.Lock()
		said = []string{good, attested(good, notary.key)}
		mu.Unlock()
		if err := ask(w.ring(db), away); matrix.Code(err) != "M_UNAUTHORIZED" {
			t.Errorf("a notary that is not trusted: %v", err)
		}
		if err := ask(ring, away); err != nil {
			t.Errorf("a good notary: %v", err)
		}
		// Yesterday's answer does not bring a key back.
		next := newKey(t)
		mu.Lock()
		said = []string{attested(keysOf(t, name, w.time().Add(48*time.Hour), func(o object) {
			o["old_verify_keys"] = object{string(away.ID): object{"key": matrix.Base64(away.Public()), "expired_ts": w.time().UnixMilli()}}
		}, next), notary.key)}
		mu.Unlock()
		if err := ask(ring, next); err != nil {
			t.Errorf("a new key: %v", err)
		}
		mu.Lock()
		said = []string{attested(good, notary.key)}
		mu.Unlock()
		if err := ask(ring, newKey(t)); err == nil {
			t.Error("nobody's key")
		}
		if err := ask(ring, away); err == nil {
			t.Error("an old key signs requests again")
		}
	})
}

// As a notary, this server passes on what others have signed, and signs it.
func TestAttesting(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t)
		p := w.peer(nil)
		p.says(t, w.now.Add(10*time.Hour), nil, p.key)
		ring := w.ring(openDB(t, url))
		attest := func(what string, requests, count int, queries ...federation.KeyQuery) []json.RawMessage {
			t.Helper()
			before := p.asked()
			list, err := ring.Attest(t.Context(), queries, "192.0.2.1")
			if err != nil || len(list) != count || p.asked()-before != requests {
				t.Fatalf("%s: %d answers after %d requests, %v; want %d after %d", what, len(list), p.asked()-before, err, count, requests)
			}
			for _, answer := range list {
				if err := matrix.VerifyJSON(answer, here, w.key.ID, w.key.Public()); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			return list
		}
		query := federation.KeyQuery{Server: p.name}
		first := attest("the first time", 1, 1, query)[0]
		if err := matrix.VerifyJSON(first, p.name, p.key.ID, p.key.Public()); err != nil {
			t.Error(err)
		}
		attest("again", 0, 1, query)
		attest("this server", 0, 1, federation.KeyQuery{Server: here})
		attest("nobody", 0, 0, federation.KeyQuery{Server: "127.0.0.1:1"}, federation.KeyQuery{Server: "no name"})
		w.pass(6 * time.Hour)
		attest("half of its time is over", 1, 1, query)
		w.pass(2 * time.Minute)
		attest("valid for longer", 1, 1, federation.KeyQuery{Server: p.name, ValidUntil: w.time().Add(1000 * time.Hour).UnixMilli()})
		p.set(answers(502, ""))
		w.pass(100 * time.Hour)
		attest("the server is away", 1, 1, query)
		own, err := ring.Own()
		if err != nil {
			t.Fatal(err)
		}
		var says struct {
			Until int64 `json:"valid_until_ts"`
		}
		if err := json.Unmarshal(own, &says); err != nil || says.Until < w.time().Add(time.Hour).UnixMilli() {
			t.Errorf("%s", own)
		}
	})
}

// What this server has signed with a key of former days stays good, and nothing else.
func TestOldKeysOfOurOwn(t *testing.T) {
	w := newWorld(t)
	old, expired := newKey(t), w.now.Add(-time.Hour)
	ring := w.ring(openDB(t, testkit.SQLite(t)), func(o *federation.KeyOptions) {
		o.Old = []storage.ServerKey{{ID: old.ID, Public: old.Public(), ValidUntil: expired.UnixMilli()}}
	})
	raw, err := ring.Own()
	if err != nil {
		t.Fatal(err)
	}
	var says struct {
		Verify map[matrix.KeyID]any `json:"verify_keys"`
		Old    map[matrix.KeyID]struct {
			Key     string
			Expired int64 `json:"expired_ts"`
		} `json:"old_verify_keys"`
	}
	if err := json.Unmarshal(raw, &says); err != nil || len(says.Verify) != 1 || len(says.Old) != 1 ||
		says.Old[old.ID].Key != matrix.Base64(old.Public()) || says.Old[old.ID].Expired != expired.UnixMilli() {
		t.Errorf("%s %v", raw, err)
	}
	v, _ := roomversion.Lookup("10")
	for at, good := range map[time.Time]bool{expired.Add(-time.Minute): true, expired.Add(time.Minute): false} {
		e, err := matrix.EventTemplate{
			RoomID: "!r:here.example", Sender: "@a:here.example", Type: "m.room.message", Content: json.RawMessage(`{}`),
			OriginServerTS: at.UnixMilli(), Depth: 1, PrevEvents: []matrix.EventID{"$p"}, AuthEvents: []matrix.EventID{"$a"},
		}.Build(v, here, old)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.VerifyEvent(t.Context(), e); (err == nil) != good {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// Events are verified with keys that were valid when they were sent, from room version 5 on.
func TestEventSignatures(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t)
		p, other := w.peer(nil), w.peer(nil)
		old := newKey(t)
		expired := w.now.Add(-48 * time.Hour)
		p.says(t, w.now.Add(time.Hour), func(o object) {
			o["old_verify_keys"] = object{string(old.ID): object{"key": matrix.Base64(old.Public()), "expired_ts": expired.UnixMilli()}}
		}, p.key)
		other.says(t, w.now.Add(time.Hour), nil, other.key)
		db := openDB(t, url)
		ring := w.ring(db)
		event := func(version, content string, at time.Time, sender matrix.ServerName, key matrix.SigningKey) *matrix.Event {
			t.Helper()
			v, _ := roomversion.Lookup(version)
			stateKey := "@a:" + string(sender)
			e, err := matrix.EventTemplate{
				RoomID: "!r:example.org", Sender: matrix.UserID(stateKey), Type: "m.room.member", StateKey: &stateKey, Content: json.RawMessage(content),
				OriginServerTS: at.UnixMilli(), Depth: 1, PrevEvents: []matrix.EventID{"$p"}, AuthEvents: []matrix.EventID{"$a"},
			}.Build(v, sender, key)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		const join = `{"membership":"join"}`
		signedToo := func(e *matrix.Event, server matrix.ServerName, key matrix.SigningKey) *matrix.Event {
			t.Helper()
			e, err := e.Sign(server, key)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		restricted := fmt.Sprintf(`{"membership":"join","join_authorised_via_users_server":"@b:%s"}`, other.name)
		stolen := p.key
		stolen.Private = newKey(t).Private
		for _, c := range []struct {
			what string
			e    *matrix.Event
			good bool
		}{
			{"now", event("10", join, w.now, p.name, p.key), true},
			{"an old key in its time", event("10", join, expired.Add(-time.Hour), p.name, old), true},
			{"an old key after its time", event("10", join, expired.Add(time.Hour), p.name, old), false},
			{"the same in version 4", event("4", join, expired.Add(time.Hour), p.name, old), true},
			{"beyond the key's time", event("10", join, w.now.Add(2*time.Hour), p.name, p.key), false},
			{"the same in version 4", event("4", join, w.now.Add(2*time.Hour), p.name, p.key), true},
			{"a wrong signature", event("10", join, w.now, p.name, stolen), false},
			{"an unknown key", event("10", join, w.now, p.name, newKey(t)), false},
			{"an unknown key as well", signedToo(event("10", join, w.now, p.name, p.key), p.name, newKey(t)), true},
			{"of this server", event("10", join, w.now, here, w.key), true},
			{"of this server by another key", event("10", join, w.now, here, p.key), false},
			{"vouched for by nobody", event("10", restricted, w.now, p.name, p.key), false},
			{"vouched for", signedToo(event("10", restricted, w.now, p.name, p.key), other.name, other.key), true},
			{"vouched for by others", signedToo(event("10", restricted, w.now, p.name, p.key), other.name, p.key), false},
			{"where nobody vouches", event("7", restricted, w.now, p.name, p.key), true},
			{"a third party's invite", event("10", `{"membership":"invite","third_party_invite":{}}`, w.now, p.name, newKey(t)), true},
		} {
			err := ring.VerifyEvent(t.Context(), c.e)
			if (err == nil) != c.good || err != nil && matrix.Code(err) != "M_FORBIDDEN" {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		// In versions 1 and 2 an event is of the server in its ID as well.
		v1, _ := roomversion.Lookup("1")
		e := event("1", join, w.now, p.name, p.key)
		elsewhere := matrix.EventID("$x:" + string(other.name))
		moved, err := matrix.LoadEvent(v1, elsewhere, []byte(strings.Replace(string(e.JSON()), string(e.ID), string(elsewhere), 1)))
		if err != nil {
			t.Fatal(err)
		}
		moved = signedToo(moved, p.name, p.key)
		if err := ring.VerifyEvent(t.Context(), moved); matrix.Code(err) != "M_FORBIDDEN" {
			t.Errorf("an ID of another server: %v", err)
		}
		if err := ring.VerifyEvent(t.Context(), signedToo(moved, other.name, other.key)); err != nil {
			t.Errorf("signed by both: %v", err)
		}
		// Keys that have verified something stay; those of strangers go.
		stranger := w.peer(nil)
		stranger.says(t, w.now.Add(time.Hour), nil, stranger.key)
		if _, err := ring.Authenticate(t.Context(), presented(t, stranger.name, here, stranger.key)); err != nil {
			t.Fatal(err)
		}
		w.pass(31 * 24 * time.Hour)
		if err := ring.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, server := range []*peer{p, stranger} {
			keys, err := storage.NewServerKeys(db).Keys(t.Context(), db.Read(), server.name, 10)
			if err != nil || len(keys) > 0 != (server == p) {
				t.Errorf("%s: %d keys, %v", server.name, len(keys), err)
			}
		}
	})
}
