package clientapi_test

import (
	"testing"

	"trestle/internal/testkit"
)

// datum is the content of account data in a list of events, or nil.
func datum(events any, dataType string) any {
	list, _ := events.([]any)
	for _, e := range list {
		if event, _ := e.(map[string]any); event["type"] == dataType {
			return event["content"]
		}
	}
	return nil
}

// MSC3391: what is deleted is told once as an empty object, and then gone.
func TestDeleteAccountData(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice := s.person("alice")
		room := alice.room()
		const unstable = "/_matrix/client/unstable/org.matrix.msc3391/user/"
		for _, c := range []struct {
			name, stable, unstable string
			in                     []string // where /sync has it
		}{
			{"of the account", v3 + "/user/" + alice.user + "/account_data/x.type", unstable + alice.user + "/account_data/x.type", []string{"account_data", "events"}},
			{
				"of a room", v3 + "/user/" + alice.user + "/rooms/" + room + "/account_data/x.type",
				unstable + alice.user + "/rooms/" + room + "/account_data/x.type", []string{"rooms", "join", room, "account_data", "events"},
			},
		} {
			for _, deletion := range []func(){
				func() { alice.must("DELETE", c.unstable, nil) },
				func() { alice.must("PUT", c.stable, " { } ") },
			} {
				alice.must("PUT", c.stable, `{"a":1}`)
				alice.sync()
				deletion()
				if got := datum(alice.sync().at(c.in...), "x.type"); !same(got, map[string]any{}) {
					t.Errorf("%s: /sync tells %v", c.name, got)
				}
				alice.refused("GET", c.stable, nil, 404, "M_NOT_FOUND")
				fresh := alice.must("GET", v3+"/sync", nil)
				if got := datum(fresh.at(c.in...), "x.type"); got != nil {
					t.Errorf("%s: a first /sync has %v", c.name, got)
				}
			}
			// To delete what is not there is no change.
			before := alice.sync().field("next_batch")
			alice.must("DELETE", c.unstable, nil)
			if after := alice.sync().field("next_batch"); after != before {
				t.Errorf("%s: deleting nothing moved the stream from %s to %s", c.name, before, after)
			}
		}
		alice.refused("DELETE", unstable+alice.user+"/account_data/m.push_rules", nil, 405, "M_BAD_JSON")
		alice.refused("DELETE", unstable+"@bob:hs.example/account_data/x.type", nil, 403, "M_FORBIDDEN")
		if flags := alice.must("GET", "/_matrix/client/versions", nil); flags.at("unstable_features", "org.matrix.msc3391") != true {
			t.Error("it is not told of in /versions")
		}
	})
}

// MSC3890: what silences a device goes with it.
func TestSilenceEndsWithTheDevice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice := s.person("alice")
		phone := alice.another("PHONE")
		path := v3 + "/user/" + alice.user + "/account_data/"
		for _, kind := range []string{"m.local_notification_settings.", "org.matrix.msc3890.local_notification_settings."} {
			alice.must("PUT", path+kind+"PHONE", `{"is_silenced":true}`)
			alice.must("PUT", path+kind+"ALICE", `{"is_silenced":true}`)
		}
		alice.sync()
		phone.must("POST", v3+"/logout", "{}")
		news := alice.sync().at("account_data", "events")
		for _, kind := range []string{"m.local_notification_settings.", "org.matrix.msc3890.local_notification_settings."} {
			alice.refused("GET", path+kind+"PHONE", nil, 404, "M_NOT_FOUND")
			alice.must("GET", path+kind+"ALICE", nil)
			if got := datum(news, kind+"PHONE"); !same(got, map[string]any{}) {
				t.Errorf("%s: /sync tells %v", kind, got)
			}
		}
	})
}
