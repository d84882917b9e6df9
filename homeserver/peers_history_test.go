package homeserver_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
)

// arrive takes a user of another server into a room, as if that server had sent the event.
func (f *federated) arrive(room id.RoomID, user string) {
	f.t.Helper()
	if _, err := f.server.Rooms().Join(f.t.Context(), room.String(), rooms.MemberRequest{Sender: matrix.UserID(user)}); err != nil {
		f.t.Fatal(err)
	}
}

// told is what a stranger is told at a path, if it is told anything.
func (s *stranger) told(to *federated, c demand, status int, code string, into any) {
	s.t.Helper()
	got, text, header := s.call(to, c)
	if got != status || header.Get("Content-Type") != "application/json" {
		s.t.Errorf("%s %s: %d %s %s, want %d", c.method, c.uri, got, header.Get("Content-Type"), text, status)
		return
	}
	if code != "" {
		var e struct {
			Code string `json:"errcode"`
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil || e.Code != code {
			s.t.Errorf("%s: %s, want %s", c.uri, text, code)
		}
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		s.t.Errorf("%s: %s: %v", c.uri, text, err)
	}
}

// A server asks another one about a room that both are in.
func TestServersAskAboutRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there, s := federate(t, authority, database, nil), newStranger(t, authority)
		bob := login(t, there.clients, "bob")
		for _, name := range []string{"1", "6", "12"} {
			version, _ := roomversion.Lookup(name)
			room, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat", RoomVersion: id.RoomVersion(name), Name: "Hall"})
			if err != nil {
				t.Fatal(err)
			}
			var said []id.EventID
			say := func(text string) {
				res, err := bob.SendMessageEvent(ctx, room.RoomID, event.EventMessage, map[string]any{"msgtype": "m.text", "body": text})
				if err != nil {
					t.Fatal(err)
				}
				said = append(said, res.EventID)
			}
			say("one")
			there.arrive(room.RoomID, "@zoe:"+s.name)
			say("two")
			say("three")

			ids := func(raw []json.RawMessage) (list []id.EventID) {
				for _, raw := range raw {
					e, err := matrix.ParseEvent(version, raw)
					if err != nil {
						t.Errorf("%s: %v", raw, err)
						continue
					}
					list = append(list, id.EventID(e.ID))
				}
				return list
			}
			of, last := "/"+url.PathEscape(room.RoomID.String()), url.QueryEscape(said[2].String())
			var transaction struct {
				Origin string            `json:"origin"`
				At     int64             `json:"origin_server_ts"`
				Events []json.RawMessage `json:"pdus"`
			}
			s.told(there, demand{uri: fed + "/event/" + url.PathEscape(said[0].String())}, 200, "", &transaction)
			if got := ids(transaction.Events); !slices.Equal(got, said[:1]) || transaction.Origin != there.name || transaction.At == 0 || !strings.Contains(string(transaction.Events[0]), "one") {
				t.Errorf("version %s: an event is %v in %+v", name, got, transaction)
			}
			s.told(there, demand{uri: fed + "/backfill" + of + "?limit=2&v=" + last}, 200, "", &transaction)
			if got := ids(transaction.Events); !slices.Equal(got, []id.EventID{said[2], said[1]}) {
				t.Errorf("version %s: backfilled are %v", name, got)
			}
			s.told(there, demand{uri: fed + "/backfill" + of + "?limit=1000&v=" + last + "&v=" + url.QueryEscape(said[0].String())}, 200, "", &transaction)
			whole := ids(transaction.Events)
			var missing struct {
				Events []json.RawMessage `json:"events"`
			}
			question := fmt.Sprintf(`{"latest_events":[%q],"earliest_events":[%q],"limit":10,"min_depth":0}`, said[2], said[0])
			s.told(there, demand{method: "POST", uri: fed + "/get_missing_events" + of, content: question}, 200, "", &missing)
			if got := ids(missing.Events); len(got) != 2 || got[1] != said[1] {
				t.Errorf("version %s: missing are %v", name, got)
			}
			var nearest struct {
				ID id.EventID `json:"event_id"`
				TS int64      `json:"origin_server_ts"`
			}
			s.told(there, demand{uri: fed + "/timestamp_to_event" + of + "?ts=0&dir=f"}, 200, "", &nearest)
			if nearest.ID != whole[len(whole)-1] || nearest.TS == 0 {
				t.Errorf("version %s: the first event is %+v", name, nearest)
			}
			s.told(there, demand{uri: fed + "/timestamp_to_event" + of + "?ts=0&dir=b"}, 404, "M_NOT_FOUND", nil)

			var state struct{ PDUs, Chain []json.RawMessage }
			var named struct{ State, Chain []id.EventID }
			s.told(there, demand{uri: fed + "/state" + of + "?event_id=" + last}, 200, "", &struct {
				PDUs  *[]json.RawMessage `json:"pdus"`
				Chain *[]json.RawMessage `json:"auth_chain"`
			}{&state.PDUs, &state.Chain})
			s.told(there, demand{uri: fed + "/state_ids" + of + "?event_id=" + last}, 200, "", &struct {
				State *[]id.EventID `json:"pdu_ids"`
				Chain *[]id.EventID `json:"auth_chain_ids"`
			}{&named.State, &named.Chain})
			// Everything but the messages is state; the create event, the creator, levels and rules authorize it.
			if got := ids(state.PDUs); len(got) != len(whole)-len(said) || !slices.Equal(got, named.State) {
				t.Errorf("version %s: the state is %d events %v and %v", name, len(got), got, named.State)
			}
			if got := ids(state.Chain); len(got) != 4 || !slices.Equal(got, named.Chain) {
				t.Errorf("version %s: the state is authorized by %v and %v", name, got, named.Chain)
			}
			var chain struct {
				Events []json.RawMessage `json:"auth_chain"`
			}
			s.told(there, demand{uri: fed + "/event_auth" + of + "/" + url.PathEscape(said[2].String())}, 200, "", &chain)
			if got := ids(chain.Events); len(got) != 3 || !slices.Contains(got, whole[len(whole)-1]) {
				t.Errorf("version %s: a message is authorized by %v", name, ids(chain.Events))
			}
			first := whole[len(whole)-1].String()
			s.told(there, demand{uri: fed + "/event_auth" + of + "/" + url.PathEscape(first)}, 200, "", &chain)
			s.told(there, demand{uri: fed + "/state" + of + "?event_id=" + url.QueryEscape(first)}, 200, "", &struct {
				PDUs *[]json.RawMessage `json:"pdus"`
			}{&state.PDUs})
			if len(chain.Events) != 0 || len(state.PDUs) != 0 {
				t.Errorf("version %s: before the first event there are %s and %s", name, chain.Events, state.PDUs)
			}

			for _, c := range []struct {
				demand
				status int
				code   string
			}{
				{demand{uri: fed + "/backfill" + of + "?limit=2"}, 400, "M_MISSING_PARAM"},
				{demand{uri: fed + "/backfill" + of + "?v=" + last}, 400, "M_MISSING_PARAM"},
				{demand{uri: fed + "/backfill" + of + "?limit=0&v=" + last}, 400, "M_INVALID_PARAM"},
				{demand{uri: fed + "/backfill" + of + "?limit=9" + strings.Repeat("&v="+last, rooms.MaxWalk+1)}, 400, "M_INVALID_PARAM"},
				{demand{method: "POST", uri: fed + "/get_missing_events" + of, content: `{"latest_events":[` + strings.Repeat(`"$a",`, rooms.MaxWalk) + `"$a"],"earliest_events":[]}`}, 400, "M_INVALID_PARAM"},
				{demand{method: "POST", uri: fed + "/get_missing_events" + of, content: `{"latest_events":[],"earliest_events":[],"limit":-1}`}, 400, "M_INVALID_PARAM"},
				{demand{uri: fed + "/timestamp_to_event" + of + "?ts=0&dir=x"}, 400, "M_INVALID_PARAM"},
				{demand{uri: fed + "/state" + of}, 400, "M_MISSING_PARAM"},
				{demand{uri: fed + "/state" + of + "?event_id=$none"}, 404, "M_NOT_FOUND"},
				{demand{uri: fed + "/event_auth" + of + "/$none"}, 404, "M_NOT_FOUND"},
				{demand{uri: fed + "/event/$none"}, 404, "M_NOT_FOUND"},
				{demand{uri: fed + "/state_ids/!none?event_id=" + last}, 403, "M_FORBIDDEN"},
				{demand{uri: fed + "/event_auth/!none/" + url.PathEscape(said[0].String())}, 403, "M_FORBIDDEN"},
			} {
				s.told(there, c.demand, c.status, c.code, nil)
			}
			// Some servers leave out what they have nothing to say about.
			s.told(there, demand{method: "POST", uri: fed + "/get_missing_events" + of, content: `{}`, lenient: true}, 200, "", &missing)
			if len(missing.Events) != 0 {
				t.Errorf("without a gap %d events are missing", len(missing.Events))
			}
		}
	})
}

// A space of another server can be looked through.
func TestServersAskAboutSpaces(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		ctx, authority := t.Context(), testkit.NewAuthority(t)
		there, s := federate(t, authority, database, nil), newStranger(t, authority)
		bob := login(t, there.clients, "bob")
		make := func(preset, name string, creation map[string]any) id.RoomID {
			room, err := bob.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: preset, Name: name, Topic: "<" + name + ">", CreationContent: creation})
			if err != nil {
				t.Fatal(err)
			}
			return room.RoomID
		}
		space := make("public_chat", "space", map[string]any{"type": "m.space"})
		hall, secret := make("public_chat", "hall", nil), make("private_chat", "secret", nil)
		for _, child := range []id.RoomID{hall, secret} {
			if _, err := bob.SendStateEvent(ctx, space, event.StateSpaceChild, child.String(), map[string]any{"via": []string{there.name}}); err != nil {
				t.Fatal(err)
			}
		}
		var got struct {
			Room struct {
				ID       id.RoomID        `json:"room_id"`
				Type     string           `json:"room_type"`
				Children []map[string]any `json:"children_state"`
			}
			Children []struct {
				ID    id.RoomID `json:"room_id"`
				Topic string
				Rule  string `json:"join_rule"`
			}
			Closed []id.RoomID `json:"inaccessible_children"`
		}
		s.told(there, demand{uri: fed + "/hierarchy/" + url.PathEscape(space.String())}, 200, "", &got)
		if got.Room.ID != space || got.Room.Type != "m.space" || len(got.Room.Children) != 2 || got.Room.Children[0]["origin_server_ts"] == nil ||
			len(got.Children) != 1 || got.Children[0].ID != hall || got.Children[0].Topic != "<hall>" || got.Children[0].Rule != "public" ||
			!slices.Equal(got.Closed, []id.RoomID{secret}) {
			t.Errorf("the space is %+v", got)
		}
		s.told(there, demand{uri: fed + "/hierarchy/" + url.PathEscape(hall.String()) + "?suggested_only=true"}, 200, "", &got)
		if got.Room.ID != hall || len(got.Room.Children)+len(got.Children)+len(got.Closed) != 0 {
			t.Errorf("a room without children is %+v", got)
		}
		s.told(there, demand{uri: fed + "/hierarchy/" + url.PathEscape(secret.String())}, 404, "M_NOT_FOUND", nil)
		s.told(there, demand{uri: fed + "/hierarchy/!none"}, 404, "M_NOT_FOUND", nil)
	})
}
