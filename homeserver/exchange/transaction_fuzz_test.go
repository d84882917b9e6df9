package exchange_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// FuzzTransaction sends a server whatever another one may send it. ROOM, CREATE, LEVELS, RULES, ALICE and LAST stand for
// the IDs of a room, of the events of its state and of its newest one, of a room that is new each time. However events are
// made, both servers hold the same of the room afterwards: the one that learns of them in a transaction, and the one that
// has nobody to ask.
func FuzzTransaction(f *testing.F) {
	event := func(parts string) string {
		return `{"room_id":"ROOM","sender":"@alice:there","origin_server_ts":1700000000000,"depth":20,"prev_events":["LAST"],` +
			`"auth_events":["CREATE","LEVELS","ALICE"],"hashes":{"sha256":"x"},"signatures":{"there":{"ed25519:a":"x"}},` + parts + `}`
	}
	said := event(`"type":"m.room.message","content":{"body":"x"}`)
	for _, pdus := range []string{
		`[]`, `[1,null,"",{},[]]`, `[` + said + `,` + said + `]`,
		`[` + event(`"type":"m.room.topic","state_key":"","content":{"topic":"x"}`) + `]`,
		`[` + event(`"type":"m.room.power_levels","state_key":"","content":{"users":{"@alice:there":100,"@bob:here":100}}`) + `]`,
		`[` + event(`"type":"m.room.member","state_key":"@bob:here","content":{"membership":"ban"}`) + `,` + said + `]`,
		`[` + event(`"type":"m.room.create","state_key":"","content":{"room_version":"11"}`) + `]`,
		`[` + event(`"type":"m.room.redaction","content":{"redacts":"LAST"}`) + `]`,
		`[` + strings.Replace(said, `"LAST"`, `"$of_which_nobody_knows"`, 1) + `]`,
		`[` + strings.Replace(said, `"depth":20`, `"depth":9007199254740991`, 1) + `]`,
		`[` + strings.Replace(said, `"prev_events":["LAST"]`, `"prev_events":["LAST","CREATE","ALICE","RULES"]`, 1) + `]`,
	} {
		f.Add(pdus)
	}
	p := newPair(f, testkit.SQLite(f))
	f.Fuzz(func(t *testing.T, pdus string) {
		var list []json.RawMessage
		if json.Unmarshal([]byte(pdus), &list) != nil {
			return
		}
		p.of(t)
		room, err := p.there.Create(t.Context(), rooms.CreateRequest{Creator: p.there.user("alice"), Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		p.room = room
		p.join("bob")
		p.tell(p.there.say(room, "alice", "hello"))
		for name, key := range map[string]string{
			"CREATE": "m.room.create ", "LEVELS": "m.room.power_levels ", "RULES": "m.room.join_rules ", "ALICE": "m.room.member @alice:there",
		} {
			pdus = strings.ReplaceAll(pdus, name, string(p.there.state(room)[key]))
		}
		pdus = strings.ReplaceAll(pdus, "ROOM", string(room))
		pdus = strings.ReplaceAll(pdus, "LAST", string(p.newest()))
		if err := json.Unmarshal([]byte(pdus), &list); err != nil {
			t.Fatal(err)
		}
		results, err := p.exchange.Transaction(t.Context(), "there", list)
		if err != nil {
			t.Errorf("it could not be taken in: %v", err)
		}
		for id, err := range results {
			if e, known := err.(*matrix.Error); err != nil && (!known || e.Status >= http.StatusInternalServerError) {
				t.Errorf("%s: %v", id, err)
			}
		}
		p.sees(list)
		p.same()
	})
}

// of has a pair report to a test.
func (p *pair) of(t testing.TB) { p.t, p.there.t, p.here.t = t, t, t }

// newest is the newest event of the room.
func (p *pair) newest() matrix.EventID {
	p.t.Helper()
	info, _ := p.there.head(p.room)
	head, err := p.there.store.Rooms.Head(p.t.Context(), info.NID)
	if err != nil {
		p.t.Fatal(err)
	}
	return head.Extremities[0]
}

// sees hands the server that has the room events one by one, without what would be asked for.
func (p *pair) sees(list []json.RawMessage) {
	p.t.Helper()
	info, _ := p.there.head(p.room)
	for _, raw := range list[:min(len(list), 50)] {
		var head struct {
			RoomID matrix.RoomID `json:"room_id"`
		}
		if json.Unmarshal(raw, &head) != nil || head.RoomID != p.room {
			continue
		}
		e, err := federation.Received(info.Version, raw)
		if err != nil {
			continue
		}
		if _, err := p.there.Receive(p.t.Context(), p.room, []rooms.Arrival{{Event: e}}); matrix.Code(err) == "" && err != nil {
			p.t.Fatal(err)
		}
	}
}
