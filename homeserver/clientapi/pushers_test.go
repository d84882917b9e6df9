package clientapi_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// pusherBody is a pusher as a client sets it, with changes; nil leaves a member out.
func pusherBody(changes object) object {
	body := object{
		"kind": "http", "app_id": "app.example.ios", "pushkey": "key", "app_display_name": "App", "device_display_name": "Phone",
		"lang": "en", "profile_tag": "tag", "data": object{"url": "https://push.example/_matrix/push/v1/notify", "format": "event_id_only", "custom": 1},
	}
	for name, value := range changes {
		if value == nil {
			delete(body, name)
		} else {
			body[name] = value
		}
	}
	return body
}

func (d *device) setPusher(changes object) {
	d.t.Helper()
	d.must("POST", v3+"/pushers/set", pusherBody(changes))
}

func (d *device) pushers() []map[string]any {
	d.t.Helper()
	var res struct{ Pushers []map[string]any }
	if err := json.Unmarshal([]byte(d.must("GET", v3+"/pushers", nil).body), &res); err != nil || res.Pushers == nil {
		d.t.Fatal(err)
	}
	return res.Pushers
}

func TestPushers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		if list := alice.pushers(); len(list) != 0 {
			t.Errorf("at first: %v", list)
		}
		alice.setPusher(nil)
		want := maps.Clone(pusherBody(nil))
		want["org.matrix.msc3881.enabled"], want["org.matrix.msc3881.device_id"] = true, "ALICE"
		if list := alice.pushers(); !same(list, []object{want}) {
			t.Errorf("set: %v", list)
		}
		// Another device switches it off and on: it stays who it was.
		laptop := alice.another("LAPTOP")
		switched := maps.Clone(want)
		for _, on := range []bool{false, true} {
			switched["org.matrix.msc3881.enabled"] = on
			laptop.must("POST", v3+"/pushers/set", switched)
			if list := alice.pushers(); !same(list, []object{switched}) {
				t.Errorf("switched to %v: %v", on, list)
			}
		}
		// Set again without that, it is of the one who does it.
		laptop.setPusher(object{"lang": "de", "profile_tag": nil})
		if list := alice.pushers(); len(list) != 1 || list[0]["lang"] != "de" || list[0]["profile_tag"] != nil || list[0]["org.matrix.msc3881.device_id"] != "LAPTOP" {
			t.Errorf("set again: %v", list)
		}
		bob.setPusher(object{"append": true})
		if len(alice.pushers()) != 1 || len(bob.pushers()) != 1 {
			t.Error("append removed another user's pusher")
		}
		bob.setPusher(object{"pushkey": "other"})
		alice.setPusher(nil)
		if list := bob.pushers(); len(list) != 1 || list[0]["pushkey"] != "other" {
			t.Errorf("the phone is alice's now, and bob has %v", list)
		}
		for range 2 { // the second time there is none
			alice.must("POST", v3+"/pushers/set", `{"kind":null,"app_id":"app.example.ios","pushkey":"key"}`)
			if list := alice.pushers(); len(list) != 0 {
				t.Errorf("removed: %v", list)
			}
		}
	})
}

// A pusher goes with the login that made it.
func TestPushersEnd(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		keys := func() string {
			var list []string
			for _, p := range alice.pushers() {
				list = append(list, p["pushkey"].(string))
			}
			return strings.Join(list, " ")
		}
		alice.setPusher(object{"pushkey": "own"})
		for _, name := range []string{"one", "two", "three"} {
			alice.another(strings.ToUpper(name)).setPusher(object{"pushkey": name})
		}
		alice.another("ONE").must("POST", v3+"/logout", `{}`)
		if got := keys(); got != "own two three" {
			t.Errorf("after a logout: %s", got)
		}
		alice.must("POST", v3+"/delete_devices", `{"devices":["TWO"],"auth":`+passwordAuth("alice", password)+`}`)
		if got := keys(); got != "own three" {
			t.Errorf("after a device was deleted: %s", got)
		}
		change := func(logout string) {
			alice.must("POST", v3+"/account/password", `{"new_password":"`+password+`","logout_devices":`+logout+`,"auth":`+passwordAuth("alice", password)+`}`)
		}
		change("false")
		if got := keys(); got != "own three" {
			t.Errorf("after a new password that leaves devices logged in: %s", got)
		}
		change("true")
		if got := keys(); got != "own" {
			t.Errorf("after a new password: %s", got)
		}
	})
}

func TestPushersRefuse(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		at := func(url any) object { return object{"data": object{"url": url}} }
		for _, tt := range []struct {
			changes object
			code    string
		}{
			{object{"kind": nil}, "M_MISSING_PARAM"}, {object{"app_id": nil}, "M_MISSING_PARAM"}, {object{"pushkey": nil}, "M_MISSING_PARAM"},
			{object{"app_display_name": nil}, "M_MISSING_PARAM"}, {object{"device_display_name": nil}, "M_MISSING_PARAM"},
			{object{"lang": nil}, "M_MISSING_PARAM"}, {object{"data": nil}, "M_MISSING_PARAM"}, {object{"data": object{}}, "M_MISSING_PARAM"},
			{object{"kind": 1}, "M_BAD_JSON"}, {object{"kind": "pigeon"}, "M_INVALID_PARAM"}, {object{"kind": ""}, "M_INVALID_PARAM"},
			{object{"kind": "email", "app_id": "m.email", "pushkey": "alice@example.org"}, "M_INVALID_PARAM"}, // no mails here
			{object{"app_id": strings.Repeat("a", 65)}, "M_INVALID_PARAM"}, {object{"app_id": ""}, "M_INVALID_PARAM"},
			{object{"pushkey": strings.Repeat("a", 513)}, "M_INVALID_PARAM"}, {object{"pushkey": ""}, "M_INVALID_PARAM"},
			{object{"lang": strings.Repeat("a", 513)}, "M_INVALID_PARAM"}, {object{"data": "x"}, "M_BAD_JSON"}, {object{"append": "x"}, "M_BAD_JSON"},
			{at(1), "M_BAD_JSON"}, {at("http://push.example/_matrix/push/v1/notify"), "M_INVALID_PARAM"},
			{at("https://push.example/notify"), "M_INVALID_PARAM"}, {at("https://push.example/_matrix/push/v1/notify/"), "M_INVALID_PARAM"},
			{at("https://a:b@push.example/_matrix/push/v1/notify"), "M_INVALID_PARAM"}, {at("https:///_matrix/push/v1/notify"), "M_INVALID_PARAM"},
			{at("https://push.example/_matrix/push/v1/notify?x=y"), "M_INVALID_PARAM"}, {at("ftp://push.example/_matrix/push/v1/notify"), "M_INVALID_PARAM"},
			{object{"data": object{"url": "https://push.example/_matrix/push/v1/notify", "format": "all"}}, "M_INVALID_PARAM"},
			{object{"data": object{"url": "https://push.example/_matrix/push/v1/notify", "format": 1}}, "M_BAD_JSON"},
			{object{"data": object{"url": "https://push.example/_matrix/push/v1/notify", "more": strings.Repeat("x", 17_000)}}, "M_INVALID_PARAM"},
		} {
			alice.refused("POST", v3+"/pushers/set", pusherBody(tt.changes), 400, tt.code)
		}
		alice.setPusher(object{"app_id": strings.Repeat("a", 64), "pushkey": strings.Repeat("a", 512)})
		for i := range 99 {
			alice.setPusher(object{"pushkey": strings.Repeat("k", i+1)})
		}
		alice.refused("POST", v3+"/pushers/set", pusherBody(nil), 413, "M_TOO_LARGE")
		if n := len(alice.pushers()); n != 100 {
			t.Errorf("%d pushers", n)
		}
	})
}
