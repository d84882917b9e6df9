package rooms_test

import (
	"encoding/json"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func TestServersAreShutOut(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{})
		shut := func(room matrix.RoomID, server matrix.ServerName) bool {
			t.Helper()
			shut, err := f.Shut(t.Context(), room, server)
			if err != nil {
				t.Fatal(err)
			}
			return shut
		}
		if shut(room, "evil.example") || shut("!unknown:test", "evil.example") {
			t.Error("somebody is shut out without a list")
		}
		for _, c := range []struct{ content, in, out string }{
			{`{"allow":["*"]}`, `["a.example","1.2.3.4","[::1]:80"]`, `[]`},
			{`{"allow":["*"],"deny":["evil.example","*.evil.example","x?.example"]}`,
				`["notevil.example","x.example","xyz.example"]`,
				`["evil.example","EVIL.example:8448","a.b.evil.example:1","xy.example"]`},
			{`{"allow":["*.Good.example","1.2.3.4"]}`, `["a.good.example:8448","1.2.3.4:80"]`, `["good.example","a.example","good.example.evil.example"]`},
			{`{"allow":["*"],"allow_ip_literals":false}`, `["1.2.3.example","1.2.3.4.5","1234.1.1.1","1.2.3"]`,
				`["1.2.3.4","1.2.3.4:80","01.002.3.4","999.1.1.1","[2001:db8::1]","[::1]:8448"]`},
			{`{"allow":["*"],"allow_ip_literals":"false"}`, `["1.2.3.4"]`, `[]`},
			{`{"allow":["[2001:db8::1]"]}`, `["[2001:DB8::1]:8448"]`, `["[2001:db8::2]"]`},
			{`{}`, `[]`, `["a.example"]`},
			{`{"allow":"*"}`, `[]`, `["a.example"]`},
			{`{"Allow":["*"]}`, `[]`, `["a.example"]`},
			{`{"allow":[7,null,["*"],"a.*"],"deny":{"x":"*"}}`, `["a.example"]`, `["b.example",""]`},
		} {
			f.state(room, alice, "m.room.server_acl", c.content)
			var in, out []matrix.ServerName
			if json.Unmarshal([]byte(c.in), &in) != nil || json.Unmarshal([]byte(c.out), &out) != nil {
				t.Fatal(c)
			}
			for range 2 { // the second answer is remembered
				for _, server := range in {
					if shut(room, server) {
						t.Errorf("%s shuts out %s", c.content, server)
					}
				}
				for _, server := range out {
					if !shut(room, server) {
						t.Errorf("%s lets in %s", c.content, server)
					}
				}
			}
		}
		// A redaction takes the lists away, and so lets nobody in.
		var acl matrix.EventID
		for _, e := range f.history(room) {
			if e.Type == "m.room.server_acl" {
				acl = e.ID
			}
		}
		if _, err := f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.redaction", Redacts: acl, Content: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
		if !shut(room, "a.example") {
			t.Error("the list is what it was before the redaction")
		}
	})
}
