package clientapi_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// backup makes a version of a key backup.
func (d *device) backup() string {
	d.t.Helper()
	return d.must("POST", v3+"/room_keys/version", object{
		"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": object{"public_key": "key"},
	}).field("version")
}

func backedUpKey(first, forwarded int, verified bool) object {
	return object{"first_message_index": first, "forwarded_count": forwarded, "is_verified": verified, "session_data": object{"a": "b"}}
}

func TestKeyBackupVersions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		version := v3 + "/room_keys/version"
		alice.refused("GET", version, nil, 404, "M_NOT_FOUND")
		one := alice.backup()
		res := alice.must("GET", version, nil)
		if res.field("version") != one || res.field("algorithm") != "m.megolm_backup.v1.curve25519-aes-sha2" || !same(res.at("count"), 0) || res.field("etag") == "" {
			t.Errorf("a new backup: %s", res.body)
		}
		two := alice.backup()
		if got := alice.must("GET", version, nil).field("version"); got != two || two == one {
			t.Errorf("versions %s, %s, current %s", one, two, got)
		}
		update := object{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": object{"public_key": "other"}, "version": two}
		alice.must("PUT", version+"/"+two, update)
		if got := alice.must("GET", version+"/"+two, nil).at("auth_data", "public_key"); got != "other" {
			t.Errorf("auth_data %v", got)
		}
		alice.refused("PUT", version+"/"+one, update, 400, "M_INVALID_PARAM")
		update["algorithm"] = "other"
		alice.refused("PUT", v3+"/room_keys/version/"+two, update, 400, "M_INVALID_PARAM")
		delete(update, "version")
		alice.refused("PUT", version+"/77", update, 404, "M_NOT_FOUND")

		alice.must("DELETE", version+"/"+two, nil)
		alice.must("DELETE", version+"/"+two, nil)
		alice.refused("GET", version+"/"+two, nil, 404, "M_NOT_FOUND")
		alice.refused("DELETE", version+"/77", nil, 404, "M_NOT_FOUND")
		alice.refused("DELETE", version+"/x", nil, 404, "M_NOT_FOUND")
		if got := alice.must("GET", version, nil).field("version"); got != one {
			t.Errorf("current version %s after deleting the newest", got)
		}
		if got := alice.backup(); got == two {
			t.Errorf("version %s was given a second time", got)
		}
	})
}

func TestKeyBackupSessions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		version := alice.backup()
		keys := v3 + "/room_keys/keys"
		v := "?version=" + version
		if got := alice.must("GET", keys+v, nil); !same(got.at("rooms"), object{}) {
			t.Errorf("an empty backup: %s", got.body)
		}
		first := alice.must("PUT", keys+"/!a:x/one"+v, backedUpKey(1, 0, false))
		second := alice.must("PUT", keys+"/!a:x"+v, object{"sessions": object{"two": backedUpKey(2, 0, false)}})
		third := alice.must("PUT", keys+v, object{"rooms": object{"!b:x": object{"sessions": object{"one": backedUpKey(3, 0, true), "three": backedUpKey(4, 0, true)}}}})
		if !same(first.at("count"), 1) || !same(second.at("count"), 2) || !same(third.at("count"), 4) || first.field("etag") == second.field("etag") {
			t.Errorf("after writing: %s %s %s", first.body, second.body, third.body)
		}
		if got := alice.must("GET", keys+"/!a:x/one"+v, nil); !same(got.at(), backedUpKey(1, 0, false)) {
			t.Errorf("a session: %s", got.body)
		}
		if got := alice.must("GET", keys+"/!a:x"+v, nil); !same(got.at("sessions"), object{"one": backedUpKey(1, 0, false), "two": backedUpKey(2, 0, false)}) {
			t.Errorf("a room: %s", got.body)
		}
		if got := alice.must("GET", keys+v, nil).at("rooms", "!b:x", "sessions", "three"); !same(got, backedUpKey(4, 0, true)) {
			t.Errorf("everything: %v", got)
		}
		bob.refused("GET", keys+v, nil, 404, "M_NOT_FOUND")

		if got := alice.must("DELETE", keys+"/!b:x/one"+v, nil).at("count"); !same(got, 3) {
			t.Errorf("%v sessions after one was deleted", got)
		}
		alice.refused("GET", keys+"/!b:x/one"+v, nil, 404, "M_NOT_FOUND")
		alice.must("DELETE", keys+"/!a:x"+v, nil)
		if got := alice.must("GET", keys+"/!a:x"+v, nil); !same(got.at("sessions"), object{}) {
			t.Errorf("a room after it was deleted: %s", got.body)
		}
		if got := alice.must("DELETE", keys+v, nil).at("count"); !same(got, 0) {
			t.Errorf("%v sessions after all were deleted", got)
		}
	})
}

func TestBetterKeyStays(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		path := v3 + "/room_keys/keys/!a:x/s?version=" + alice.backup()
		for i, tt := range []struct {
			key    object
			stored bool
		}{
			{backedUpKey(10, 5, false), true},
			{backedUpKey(11, 5, false), false},
			{backedUpKey(10, 6, false), false},
			{backedUpKey(10, 5, false), false},
			{backedUpKey(11, 0, false), false},
			{backedUpKey(10, 4, false), true},
			{backedUpKey(9, 9, false), true},
			{backedUpKey(20, 9, true), true},
			{backedUpKey(1, 0, false), false},
			{backedUpKey(20, 10, true), false},
			{backedUpKey(19, 10, true), true},
		} {
			tt.key["session_data"] = object{"n": i}
			alice.must("PUT", path, tt.key)
			if got := alice.must("GET", path, nil); same(got.at(), tt.key) != tt.stored {
				t.Errorf("key %d: there is %s", i, got.body)
			}
		}
	})
}

func TestKeyBackupRefuses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		version, keys := v3+"/room_keys/version", v3+"/room_keys/keys"
		for body, code := range map[string]string{
			`{}`:                                       "M_MISSING_PARAM",
			`{"algorithm":"x"}`:                        "M_MISSING_PARAM",
			`{"algorithm":1,"auth_data":{}}`:           "M_BAD_JSON",
			`{"algorithm":"\u0000","auth_data":{}}`:    "M_BAD_JSON",
			`{"algorithm":"","auth_data":{}}`:          "M_INVALID_PARAM",
			`{"algorithm":"x","auth_data":"secret"}`:   "M_BAD_JSON",
			`{"algorithm":"x","auth_data":["secret"]}`: "M_BAD_JSON",
		} {
			alice.refused("POST", version, body, 400, code)
		}
		old := alice.backup()
		current := alice.backup()
		alice.refused("PUT", keys+"/!a:x/s", backedUpKey(1, 1, true), 400, "M_MISSING_PARAM")
		res := alice.do("PUT", keys+"/!a:x/s?version="+old, backedUpKey(1, 1, true))
		if res.status != 403 || res.field("errcode") != "M_WRONG_ROOM_KEYS_VERSION" || res.field("current_version") != current {
			t.Errorf("writing to an old version: %d %s", res.status, res.body)
		}
		alice.refused("PUT", keys+"/!a:x/s?version=99", backedUpKey(1, 1, true), 404, "M_NOT_FOUND")
		for _, missing := range []string{"first_message_index", "forwarded_count", "is_verified", "session_data"} {
			key := backedUpKey(1, 1, true)
			delete(key, missing)
			alice.refused("PUT", keys+"/!a:x/s?version="+current, key, 400, "M_BAD_JSON")
			key[missing] = "text"
			alice.refused("PUT", keys+"/!a:x?version="+current, object{"sessions": object{"s": key}}, 400, "M_BAD_JSON")
		}
		alice.refused("PUT", keys+"?version="+current, object{"rooms": object{"room": object{"sessions": object{}}}}, 400, "M_INVALID_PARAM")
		alice.refused("PUT", keys+"?version="+current, object{"rooms": []string{}}, 400, "M_BAD_JSON")
		alice.refused("PUT", keys+"/!a:x?version="+current, object{}, 400, "M_MISSING_PARAM")
		alice.refused("PUT", keys+"/!a:x?version="+current, object{"sessions": object{"\x00": backedUpKey(1, 1, true)}}, 400, "M_BAD_JSON")
		alice.refused("PUT", keys+"/!a:x?version="+current, object{"sessions": object{"": backedUpKey(1, 1, true)}}, 400, "M_INVALID_PARAM")
		large := backedUpKey(1, 1, true)
		large["session_data"] = object{"x": strings.Repeat("x", 70_000)}
		alice.refused("PUT", keys+"/!a:x/s?version="+current, large, 413, "M_TOO_LARGE")
	})
}
