package clientapi_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

type object = map[string]any

// deviceKeys is keys as a client uploads them; the number makes them differ.
func (d *device) deviceKeys(n int) object {
	return object{
		"user_id": d.user, "device_id": d.id, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys":       object{"ed25519:" + d.id: fmt.Sprintf("ed%d", n), "curve25519:" + d.id: fmt.Sprintf("curve%d", n)},
		"signatures": object{d.user: object{"ed25519:" + d.id: fmt.Sprintf("signature%d", n)}},
	}
}

func (d *device) upload(body object) reply {
	d.t.Helper()
	return d.must("POST", v3+"/keys/upload", body)
}

func (d *device) uploadDevice(n int) {
	d.t.Helper()
	d.upload(object{"device_keys": d.deviceKeys(n)})
}

func (d *device) query(user string, devices ...string) reply {
	d.t.Helper()
	return d.must("POST", v3+"/keys/query", object{"device_keys": object{user: append([]string{}, devices...)}})
}

func (d *device) claim(of *device) any {
	d.t.Helper()
	return d.must("POST", v3+"/keys/claim", object{"one_time_keys": object{of.user: object{of.id: "signed_curve25519"}}}).
		at("one_time_keys", of.user, of.id)
}

// oneTimeKey is a signed key.
func (d *device) oneTimeKey(key string) object {
	return object{"key": key, "signatures": object{d.user: object{"ed25519:" + d.id: "signature"}}}
}

func TestDeviceKeys(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		if got := bob.query(alice.user).at("device_keys", alice.user); !same(got, object{}) {
			t.Errorf("keys of a user without any: %v", got)
		}
		alice.uploadDevice(1)
		phone := alice.another("PHONE")
		phone.uploadDevice(2)
		alice.must("PUT", v3+"/devices/PHONE", object{"display_name": "My phone"})
		want := phone.deviceKeys(2)
		want["unsigned"] = object{"device_display_name": "My phone"}
		if got := bob.query(alice.user).at("device_keys", alice.user); !same(got, object{"ALICE": alice.deviceKeys(1), "PHONE": want}) {
			t.Errorf("keys of two devices: %v", got)
		}
		if got := bob.query(alice.user, "ALICE", "GONE").at("device_keys", alice.user); !same(got, object{"ALICE": alice.deviceKeys(1)}) {
			t.Errorf("keys of one device: %v", got)
		}
		alice.uploadDevice(3)
		if got := bob.query(alice.user, "ALICE").at("device_keys", alice.user, "ALICE"); !same(got, alice.deviceKeys(3)) {
			t.Errorf("keys that were replaced: %v", got)
		}
		phone.must("POST", v3+"/logout", "{}")
		if got := bob.query(alice.user).at("device_keys", alice.user); !same(got, object{"ALICE": alice.deviceKeys(3)}) {
			t.Errorf("keys after a logout: %v", got)
		}
		res := bob.query("@x:elsewhere.example")
		if res.at("failures", "elsewhere.example") == nil || res.at("device_keys", "@x:elsewhere.example") != nil {
			t.Errorf("keys of another server's user: %s", res.body)
		}
	})
}

func TestOneTimeKeys(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		one, two := alice.oneTimeKey("one"), alice.oneTimeKey("two")
		alice.upload(object{"one_time_keys": object{"signed_curve25519:B": one}})
		res := alice.upload(object{"one_time_keys": object{"signed_curve25519:A": two, "curve25519:C": "plain"}})
		if got := res.at("one_time_key_counts"); !same(got, object{"signed_curve25519": 2, "curve25519": 1}) {
			t.Errorf("counts %v", got)
		}

		// The same key again is nothing new, not even with another signature; a
		// different one of the same name is a mistake.
		again := alice.oneTimeKey("one")
		again["signatures"] = object{alice.user: object{"ed25519:ALICE": "second signature"}}
		alice.upload(object{"one_time_keys": object{"signed_curve25519:B": again}})
		alice.refused("POST", v3+"/keys/upload", object{"one_time_keys": object{"signed_curve25519:B": two}}, 400, "M_UNKNOWN")
		alice.refused("POST", v3+"/keys/upload", object{"one_time_keys": object{"curve25519:C": "other"}}, 400, "M_UNKNOWN")

		alice.sync()
		if got := bob.claim(alice); !same(got, object{"signed_curve25519:B": one}) {
			t.Errorf("claimed %v, want the key that was uploaded first", got)
		}
		if got := alice.sync().at("device_one_time_keys_count"); !same(got, object{"signed_curve25519": 1, "curve25519": 1}) {
			t.Errorf("counts in /sync after a claim: %v", got)
		}
		if got := bob.claim(alice); !same(got, object{"signed_curve25519:A": two}) {
			t.Errorf("claimed %v, want the second key", got)
		}
		if got := bob.claim(alice); got != nil {
			t.Errorf("claimed %v when there was none left", got)
		}
	})
}

func TestFallbackKeys(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		unused := func() []string { return alice.sync().texts("device_unused_fallback_key_types") }
		first := alice.oneTimeKey("first")
		first["fallback"] = true
		alice.upload(object{"fallback_keys": object{"signed_curve25519:F": first}})
		if got := unused(); !same(got, []string{"signed_curve25519"}) {
			t.Errorf("unused fallback keys %v", got)
		}
		for range 2 {
			if got := bob.claim(alice); !same(got, object{"signed_curve25519:F": first}) {
				t.Errorf("claimed %v, want the fallback key", got)
			}
		}
		if got := unused(); len(got) != 0 {
			t.Errorf("unused fallback keys after a claim %v", got)
		}
		alice.upload(object{"fallback_keys": object{"signed_curve25519:F": first}})
		if got := unused(); len(got) != 0 {
			t.Errorf("the same key again is unused: %v", got)
		}
		second := alice.oneTimeKey("second")
		alice.upload(object{"org.matrix.msc2732.fallback_keys": object{"signed_curve25519:G": second}})
		if got := unused(); len(got) != 1 {
			t.Errorf("unused fallback keys after a new one %v", got)
		}
		one := alice.oneTimeKey("one")
		alice.upload(object{"one_time_keys": object{"signed_curve25519:1": one}})
		if got := bob.claim(alice); !same(got, object{"signed_curve25519:1": one}) {
			t.Errorf("claimed %v, want the one-time key", got)
		}
		if got := bob.claim(alice); !same(got, object{"signed_curve25519:G": second}) {
			t.Errorf("claimed %v, want the new fallback key", got)
		}
	})
}

// Many at one time get no key twice.
func TestClaimsAtOneTime(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		keys := object{}
		const n = 40
		for i := range n {
			keys[fmt.Sprintf("signed_curve25519:%d", i)] = alice.oneTimeKey(fmt.Sprint(i))
		}
		alice.upload(object{"one_time_keys": keys})
		claimed := make(chan any, n+8)
		for range 8 {
			go func() {
				for range (n + 8) / 8 {
					claimed <- bob.do("POST", v3+"/keys/claim", object{"one_time_keys": object{alice.user: object{alice.id: "signed_curve25519"}}}).
						at("one_time_keys", alice.user, alice.id)
				}
			}()
		}
		seen := map[string]bool{}
		none := 0
		for range n + 8 {
			given, _ := (<-claimed).(map[string]any)
			if given == nil {
				none++
			}
			for name := range given {
				if seen[name] {
					t.Errorf("%s was given out twice", name)
				}
				seen[name] = true
			}
		}
		if len(seen) != n || none != 8 {
			t.Errorf("%d keys given out, %d refused", len(seen), none)
		}
	})
}

func TestKeysRefuse(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, dsn string) {
		s := newWholeServer(t, dsn)
		alice := s.person("alice")
		s.person("bob")
		with := func(change func(object)) object {
			keys := alice.deviceKeys(1)
			change(keys)
			return object{"device_keys": keys}
		}
		long := strings.Repeat("x", 300)
		for _, body := range []any{
			with(func(k object) { delete(k, "algorithms") }),
			with(func(k object) { delete(k, "keys") }),
			with(func(k object) { delete(k, "signatures") }),
			with(func(k object) { k["algorithms"] = "m.olm" }),
			with(func(k object) { k["algorithms"] = []any{1} }),
			with(func(k object) { k["keys"] = object{"ed25519:ALICE": 1} }),
			with(func(k object) { k["keys"] = object{"ed25519": "x"} }),
			with(func(k object) { k["signatures"] = object{alice.user: "x"} }),
			with(func(k object) { k["user_id"] = nil }),
			with(func(k object) { k["extra"] = 1.5 }),
			object{"device_keys": []string{}},
			object{"one_time_keys": []string{}},
			object{"one_time_keys": object{"nocolon": "x"}},
			object{"one_time_keys": object{":x": "x"}},
			object{"one_time_keys": object{"x:": "x"}},
			object{"one_time_keys": object{"x:\x00": "x"}},
			object{"one_time_keys": object{"x:" + long: "x"}},
			object{"one_time_keys": object{"a:b": 3}},
			object{"one_time_keys": object{"a:b": nil}},
			object{"one_time_keys": object{"a:b": object{"key": 3, "signatures": object{}}}},
			object{"one_time_keys": object{"a:b": object{"key": "k"}}},
			object{"one_time_keys": object{"a:b": object{"key": "k", "signatures": object{"@a:b": 3}}}},
			object{"fallback_keys": 3},
			`{"one_time_keys":{"a:b":"x","a:b":"y"}}`,
			`[]`,
		} {
			alice.refused("POST", v3+"/keys/upload", body, 400, "M_BAD_JSON")
		}
		alice.refused("POST", v3+"/keys/upload", "{", 400, "M_NOT_JSON")
		alice.refused("POST", v3+"/keys/upload", with(func(k object) { k["user_id"] = "@bob:hs.example" }), 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/keys/upload", with(func(k object) { k["device_id"] = "OTHER" }), 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/keys/upload", object{"fallback_keys": object{"a:b": "x", "a:c": "x"}}, 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/keys/upload", object{"one_time_keys": object{"a:b": strings.Repeat("x", 9000)}}, 400, "M_BAD_JSON")
		alice.refused("POST", v3+"/keys/upload", with(func(k object) { k["extra"] = strings.Repeat("x", 70_000) }), 413, "M_TOO_LARGE")
		many := object{}
		for i := range 1001 {
			many[fmt.Sprintf("a:%d", i)] = "x"
		}
		alice.refused("POST", v3+"/keys/upload", object{"one_time_keys": many}, 413, "M_TOO_LARGE")
		delete(many, "a:0")
		alice.upload(object{"one_time_keys": many})
		alice.refused("POST", v3+"/keys/upload", object{"one_time_keys": object{"a:0": "x"}}, 413, "M_TOO_LARGE")

		query, claim := v3+"/keys/query", v3+"/keys/claim"
		alice.refused("POST", query, `{}`, 400, "M_MISSING_PARAM")
		alice.refused("POST", query, `{"device_keys":{"@bob:hs.example":{"device":true}}}`, 400, "M_BAD_JSON")
		alice.refused("POST", query, `{"device_keys":{"@bob:hs.example":[1]}}`, 400, "M_BAD_JSON")
		alice.refused("POST", query, `{"device_keys":{"bob":[]}}`, 400, "M_INVALID_PARAM")
		alice.refused("POST", query, `{"device_keys":[]}`, 400, "M_BAD_JSON")
		alice.refused("POST", query, `{"device_keys":{},"timeout":"x"}`, 400, "M_BAD_JSON")
		alice.refused("POST", claim, `{}`, 400, "M_MISSING_PARAM")
		alice.refused("POST", claim, `{"one_time_keys":{"@bob:hs.example":["x"]}}`, 400, "M_BAD_JSON")
		alice.refused("POST", claim, `{"one_time_keys":{"bob":{}}}`, 400, "M_INVALID_PARAM")
		alice.refused("POST", claim, `{"one_time_keys":{"@bob:hs.example":{"D":"\u0000"}}}`, 400, "M_BAD_JSON")
		alice.refused("POST", claim, `{"one_time_keys":{"@bob:hs.example":{"\u0000":"a"}}}`, 400, "M_BAD_JSON")
		alice.refused("POST", query, `{"device_keys":{"@bob:hs.example":["\u0000"]}}`, 400, "M_BAD_JSON")
		alice.refused("GET", v3+"/keys/changes", nil, 400, "M_MISSING_PARAM")
		alice.refused("GET", v3+"/keys/changes?from=x&to=s1", nil, 400, "M_INVALID_PARAM")
		alice.refused("GET", v3+"/keys/changes?from=s1&to="+url.QueryEscape("s1 "), nil, 400, "M_INVALID_PARAM")
	})
}

// Clients of before r0.3 name their device in the path.
func TestKeysAreUploadedByDevice(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t))
	alice := s.person("alice")
	old := *alice
	old.wholeServer = s.plain()
	r := old.must("POST", "/_matrix/client/r0/keys/upload/"+alice.id, object{"device_keys": alice.deviceKeys(1)})
	if !same(r.at("one_time_key_counts", "signed_curve25519"), 0) {
		t.Errorf("%s", r.body)
	}
	if got := alice.query(alice.user).at("device_keys", alice.user, alice.id, "device_id"); got != alice.id {
		t.Errorf("the keys are not there: %v", got)
	}
	old.refused("POST", "/_matrix/client/r0/keys/upload/OTHER", object{}, 403, "M_FORBIDDEN")
}
