package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
)

// made makes an event after the newest ones of a room, as another server would.
func (f *fixture) made(room matrix.RoomID, sender, target matrix.UserID, membership string, key matrix.SigningKey) *matrix.Event {
	f.t.Helper()
	info, err := f.Info(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	head, err := f.store.Rooms.Head(f.t.Context(), info.NID)
	if err != nil {
		f.t.Fatal(err)
	}
	now, err := f.Head(f.t.Context(), info.NID)
	if err != nil {
		f.t.Fatal(err)
	}
	state := string(target)
	template := matrix.EventTemplate{
		RoomID: room, Sender: sender, Type: "m.room.member", StateKey: &state, Content: fmt.Appendf(nil, `{"membership":%q}`, membership),
		OriginServerTS: 1_700_000_000_000, Depth: head.Depth + 1, PrevEvents: head.Extremities,
	}
	for _, key := range eventauth.NeededFor(info.Version, template) {
		e, err := now.Event(f.t.Context(), key.Type, key.Key)
		if err != nil {
			f.t.Fatal(err)
		}
		if e != nil {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
	}
	e, err := template.Build(info.Version, sender.Server(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fixture) stands(room matrix.RoomID, user matrix.UserID, membership string) *storage.Membership {
	f.t.Helper()
	info, err := f.Info(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	m, err := f.store.Members.In(f.t.Context(), info.NID, user)
	if err != nil || m == nil || m.Membership != membership {
		f.t.Fatalf("%s is %+v, want %s: %v", user, m, membership, err)
	}
	return m
}

// A room is known by an invite first, by coming in then, and by an invite again after all have left.
func TestInvitesFromOutside(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, version := range []string{"10", "12"} {
			t.Run(version, func(t *testing.T) {
				ctx := t.Context()
				there, here := open(t, testkit.SQLite(t)), openAs(t, url, "other")
				room := there.create(rooms.CreateRequest{Preset: "private_chat", Name: "Tea", Version: version})
				var withheld []int64
				invited := func() *matrix.Event {
					t.Helper()
					invite := there.made(room, alice, yves, "invite", there.Key)
					described := []json.RawMessage{json.RawMessage(`{"type":"m.room.name","state_key":"","sender":"@alice:test","content":{"name":"Tea"}}`)}
					var signed *matrix.Event
					for range 2 {
						var err error
						if signed, err = here.Peer("test").Invited(ctx, rooms.OutsideInvite{Event: invite, Stripped: described}); err != nil {
							t.Fatal(err)
						}
					}
					if len(signed.SignatureKeys("other")) != 1 {
						t.Errorf("what is signed is %s", signed.JSON())
					}
					done, err := there.Receive(ctx, room, []rooms.Arrival{{Event: signed}})
					if err != nil || done[0].Verdict != storage.Placed {
						t.Fatal(done, err)
					}
					return signed
				}
				away := func() {
					t.Helper()
					info, err := here.Info(ctx, room)
					if err != nil {
						t.Fatal(err)
					}
					for _, service := range []*rooms.Service{here.Service, again(here)} {
						if in, err := service.Resident(ctx, info); in || err != nil {
							t.Errorf("this server takes part in what it is invited to: %v, %v", in, err)
						}
					}
				}
				first := invited()
				m := here.stands(room, yves, "invite")
				var stripped []json.RawMessage
				if err := json.Unmarshal(m.Stripped, &stripped); err != nil || len(stripped) != 2 {
					t.Errorf("yves is told %s, %v", m.Stripped, err)
				}
				away()
				changes := here.heard.changes
				if len(changes) != 1 || changes[0].Target != yves || changes[0].Membership != "invite" || string(changes[0].Stripped) != string(m.Stripped) || changes[0].Event.Position != m.Position {
					t.Errorf("readers are told %+v", changes)
				}

				// The invite has its place in what the room is like from then on.
				if err := joinBetween(t, there, here, room, yves); err != nil {
					t.Fatal(err)
				}
				if m := here.stands(room, yves, "join"); len(m.Stripped) > 0 {
					t.Errorf("who is in is told %s", m.Stripped)
				}
				info, err := here.Info(ctx, room)
				if err != nil {
					t.Fatal(err)
				}
				if in, err := here.Resident(ctx, info); !in || err != nil {
					t.Errorf("%v, %v", in, err)
				}
				now, err := here.Head(ctx, info.NID)
				if err != nil {
					t.Fatal(err)
				}
				if now.Summary.JoinedMembers != 2 || now.Summary.InvitedMembers != 0 {
					t.Errorf("the members are %+v", now.Summary)
				}
				// What comes after the invite on another branch is not judged by what this server took the room for.
				late := there.made(room, alice, bob, "invite", there.Key)
				late = rebuilt(t, there, late, []matrix.EventID{first.ID})
				done, err := here.Receive(ctx, room, []rooms.Arrival{{Event: late}})
				if err != nil || !slices.Equal(done[0].Missing, []matrix.EventID{first.ID}) {
					t.Errorf("%+v, %v", done, err)
				}

				// All leave, and are invited again.
				leave := there.made(room, yves, yves, "leave", here.Key)
				for _, f := range []*fixture{there, here} {
					if done, err := f.Receive(ctx, room, []rooms.Arrival{{Event: leave}}); err != nil || done[0].Verdict != storage.Placed || len(done[0].Missing) > 0 {
						t.Fatal(done, err)
					}
				}
				invited()
				here.stands(room, yves, "invite")
				away()
				here.Withhold = func(_ context.Context, _ *database.Tx, event int64) error {
					withheld = append(withheld, event)
					return nil
				}
				refusal := there.made(room, yves, yves, "leave", here.Key)
				for range 2 {
					if err := here.Depart(ctx, room, refusal); err != nil {
						t.Fatal(err)
					}
				}
				here.stands(room, yves, "leave")
				away()
				if len(withheld) != 1 || withheld[0] != here.stands(room, yves, "leave").EventNID {
					t.Errorf("other servers are not sent %v", withheld)
				}
				if err := joinBetween2(t, there, here, room, invited); err != nil {
					t.Fatal(err)
				}
				here.stands(room, yves, "join")
			})
		}
	})
}

// joinBetween2 joins after another invite.
func joinBetween2(t *testing.T, there, here *fixture, room matrix.RoomID, invited func() *matrix.Event) error {
	t.Helper()
	if done, err := there.Receive(t.Context(), room, []rooms.Arrival{{Event: there.made(room, yves, yves, "leave", here.Key)}}); err != nil || done[0].Refused != nil {
		t.Fatal(done, err)
	}
	invited()
	return joinBetween(t, there, here, room, yves)
}

// rebuilt is an event at another place.
func rebuilt(t *testing.T, f *fixture, e *matrix.Event, prev []matrix.EventID) *matrix.Event {
	t.Helper()
	changed, err := matrix.EventTemplate{
		RoomID: e.RoomID, Sender: e.Sender, Type: e.Type, StateKey: e.StateKey, Content: e.Content,
		OriginServerTS: e.OriginServerTS, Depth: e.Depth, PrevEvents: prev, AuthEvents: e.AuthEvents,
	}.Build(e.Version, e.Sender.Server(), f.Key)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// Who says what version a room has, and is not in it, does not keep others out of it.
func TestWrongVersionsFromOutside(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		for _, wrong := range []string{"1", "9"} {
			there, here := open(t, testkit.SQLite(t)), openAs(t, url, "other")
			room := there.create(rooms.CreateRequest{Preset: "public_chat", Version: "10"})
			version, _ := roomversion.Lookup(wrong)
			state := string(yves)
			invite, err := matrix.EventTemplate{
				RoomID: room, Sender: "@mallory:evil", Type: "m.room.member", StateKey: &state, Content: json.RawMessage(`{"membership":"invite"}`),
				OriginServerTS: 1_700_000_000_000, Depth: 9,
			}.Build(version, "evil", there.Key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := here.Peer("evil").Invited(ctx, rooms.OutsideInvite{Event: invite}); err != nil {
				t.Fatal(err)
			}
			if err := joinBetween(t, there, here, room, yves); err != nil {
				t.Fatal(err)
			}
			here.stands(room, yves, "join")
			if got, err := again(here).Version(ctx, room); err != nil || got.ID != "10" {
				t.Errorf("%v, %v", got, err)
			}
		}
	})
}

// TestTurnedAway has invites and knocks of users outside be ended: by those who may, and only those that are meant.
func TestTurnedAway(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		there, here := open(t, testkit.SQLite(t)), openAs(t, url, "other")
		room := there.create(rooms.CreateRequest{Preset: "public_chat", Version: "11"})
		there.join(room, bob)
		unheard := there.made(room, alice, yves, "leave", there.Key)
		take := func(e *matrix.Event) *matrix.Event {
			t.Helper()
			if done, err := there.Receive(ctx, room, []rooms.Arrival{{Event: e}}); err != nil || done[0].Verdict != storage.Placed {
				t.Fatalf("%+v, %v", done, err)
			}
			return e
		}
		invite, err := here.Peer("test").Invited(ctx, rooms.OutsideInvite{Event: there.made(room, alice, yves, "invite", there.Key)})
		if err != nil {
			t.Fatal(err)
		}
		take(invite)
		info, err := here.Info(ctx, room)
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range map[string]*matrix.Event{
			"not by whoever has invited": there.made(room, bob, yves, "leave", there.Key),
			"before the invite":          unheard,
			"another one":                there.made(room, alice, bob, "leave", there.Key),
			"another membership":         there.made(room, alice, yves, "invite", there.Key),
		} {
			if err := here.TurnedAway(ctx, info, e); matrix.Code(err) != "M_FORBIDDEN" {
				t.Errorf("%s: %v", name, err)
			}
		}
		here.stands(room, yves, "invite")
		leave := take(there.made(room, alice, yves, "leave", there.Key))
		for range 2 {
			if err := here.TurnedAway(ctx, info, leave); err != nil && matrix.Code(err) != "M_FORBIDDEN" {
				t.Fatal(err)
			}
			here.stands(room, yves, "leave")
		}
		// The end of an earlier knock is told late.
		key := ""
		_, err = there.Send(ctx, rooms.SendRequest{
			Room: room, Sender: alice, Type: "m.room.join_rules", StateKey: &key, Content: json.RawMessage(`{"join_rule":"knock"}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		var refusals []*matrix.Event
		for range 2 {
			knock := take(there.made(room, yves, yves, "knock", here.Key))
			if err := here.Knocked(ctx, room, knock, nil); err != nil {
				t.Fatal(err)
			}
			refusals = append(refusals, take(there.made(room, alice, yves, "leave", there.Key)))
		}
		if err := here.TurnedAway(ctx, info, refusals[0]); matrix.Code(err) != "M_FORBIDDEN" {
			t.Error(err)
		}
		here.stands(room, yves, "knock")
		if err := here.TurnedAway(ctx, info, refusals[1]); err != nil {
			t.Error(err)
		}
		here.stands(room, yves, "leave")
	})
}
