package clientapi_test

import (
	"fmt"
	"slices"
	"testing"

	"trestle/internal/testkit"
)

const dehydrated = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"

// dehydrate is the body that leaves a device behind.
func (d *device) dehydrate(id string) object {
	kept := &device{wholeServer: d.wholeServer, user: d.user, id: id}
	keys := kept.deviceKeys(7)
	keys["dehydrated"] = true
	return object{
		"device_id": id, "initial_device_display_name": "Left behind", "device_data": object{"algorithm": "org.matrix.msc3814.v2", "device_pickle": "secret"},
		"device_keys": keys, "one_time_keys": object{"signed_curve25519:AAA": kept.oneTimeKey("one")},
	}
}

func TestDehydratedDevice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		alice.room(bob)
		bob.sync()
		alice.refused("GET", dehydrated, nil, 404, "M_NOT_FOUND")
		alice.refused("DELETE", dehydrated, nil, 404, "M_NOT_FOUND")
		if r := alice.must("PUT", dehydrated, alice.dehydrate("KEPT")); r.field("device_id") != "KEPT" {
			t.Errorf("kept: %s", r.body)
		}
		if r := alice.must("GET", dehydrated, nil); r.field("device_id") != "KEPT" || r.at("device_data", "device_pickle") != "secret" {
			t.Errorf("what is kept: %s", r.body)
		}
		bob.expectLists("with a dehydrated device", []string{alice.user}, nil)
		if r := bob.query(alice.user); r.at("device_keys", alice.user, "KEPT", "dehydrated") != true {
			t.Errorf("the keys: %s", r.body)
		}
		if got := bob.claim(&device{user: alice.user, id: "KEPT"}); got == nil {
			t.Error("no one-time key")
		}
		// Messages are read in pages and stay until the device goes.
		for i := range 120 {
			bob.send(fmt.Sprint("t", i), fmt.Sprint(i), alice.user, "KEPT")
		}
		var heard []string
		events, next := dehydrated+"/KEPT/events", ""
		for pages := 0; ; pages++ {
			body := object{}
			if next != "" {
				body["next_batch"] = next
			}
			r := alice.must("POST", events, body)
			page := r.list("events")
			if len(page) == 0 {
				if r.field("next_batch") != next {
					t.Errorf("the end moves: %s", r.body)
				}
				break
			}
			for _, e := range page {
				content, _ := e["content"].(map[string]any)
				heard = append(heard, fmt.Sprint(content["text"]))
				if e["sender"] != bob.user || e["type"] == nil {
					t.Errorf("a message: %v", e)
				}
			}
			next = r.field("next_batch")
			if pages > 5 {
				t.Fatal("no end")
			}
		}
		if len(heard) != 120 || heard[0] != "0" || heard[119] != "119" {
			t.Errorf("heard %d: %v", len(heard), heard)
		}
		if first := alice.must("POST", events, object{}); len(first.list("events")) != 100 {
			t.Errorf("read again: %d", len(first.list("events")))
		}
		alice.refused("POST", dehydrated+"/ALICE/events", object{}, 403, "M_FORBIDDEN")
		bob.refused("POST", events, object{}, 403, "M_FORBIDDEN")
		alice.refused("POST", events, object{"next_batch": "x"}, 400, "M_INVALID_PARAM")
		// Another one takes its place.
		alice.must("PUT", dehydrated, alice.dehydrate("NEXT"))
		if got := alice.must("GET", v3+"/devices", nil); slices.ContainsFunc(got.list("devices"), func(d map[string]any) bool { return d["device_id"] == "KEPT" }) {
			t.Errorf("the old one is still there: %s", got.body)
		}
		if r := bob.query(alice.user); r.at("device_keys", alice.user, "KEPT") != nil || r.at("device_keys", alice.user, "NEXT") == nil {
			t.Errorf("the keys: %s", r.body)
		}
		alice.must("PUT", dehydrated, alice.dehydrate("NEXT")) // the same again
		if r := alice.must("DELETE", dehydrated, nil); r.field("device_id") != "NEXT" {
			t.Errorf("dropped: %s", r.body)
		}
		alice.refused("GET", dehydrated, nil, 404, "M_NOT_FOUND")
		// It goes as any other device does.
		alice.must("PUT", dehydrated, alice.dehydrate("LAST"))
		alice.must("POST", v3+"/logout/all", object{})
		again := alice.another("AGAIN")
		again.refused("GET", dehydrated, nil, 404, "M_NOT_FOUND")
	})
}

func TestDehydratedRefuses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice := s.person("alice")
		for _, c := range []struct {
			change func(object)
			status int
			code   string
		}{
			{func(o object) { delete(o, "device_id") }, 400, "M_MISSING_PARAM"},
			{func(o object) { o["device_id"] = 1 }, 400, "M_BAD_JSON"},
			{func(o object) { delete(o, "device_keys") }, 400, "M_MISSING_PARAM"},
			{func(o object) { delete(o, "device_data") }, 400, "M_BAD_JSON"},
			{func(o object) { o["device_data"] = "x" }, 400, "M_BAD_JSON"},
			{func(o object) { o["device_data"] = object{} }, 400, "M_BAD_JSON"},
			{func(o object) { o["device_id"] = "OTHER" }, 400, "M_INVALID_PARAM"},
			{func(o object) { o["one_time_keys"] = "x" }, 400, "M_BAD_JSON"},
			{func(o object) {
				for name, value := range alice.dehydrate("ALICE") {
					o[name] = value
				}
			}, 400, "M_INVALID_PARAM"},
		} {
			body := alice.dehydrate("KEPT")
			c.change(body)
			alice.refused("PUT", dehydrated, body, c.status, c.code)
		}
		alice.refused("GET", dehydrated, nil, 404, "M_NOT_FOUND")
		if flags := alice.must("GET", "/_matrix/client/versions", nil); flags.at("unstable_features", "org.matrix.msc3814") != true {
			t.Error("it is not told of in /versions")
		}
	})
}
