package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

const (
	alice = matrix.UserID("@alice:test")
	bob   = matrix.UserID("@bob:test")
	carol = matrix.UserID("@carol:test")
)

// nobody is the profiles and directories of a server on which nobody has either.
type nobody struct{}

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error)     { return "", "", nil }
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
func (nobody) InviteBlocked(context.Context, matrix.UserID, matrix.UserID) (bool, error) {
	return false, nil
}
func (nobody) Carry(context.Context, matrix.UserID, matrix.RoomID, matrix.RoomID) error {
	return nil
}
func (nobody) MayUseAlias(string, matrix.RoomAlias) error { return nil }

// recorder keeps what readers are told.
type recorder struct {
	mu      sync.Mutex
	changes []rooms.Change
}

func (r *recorder) RoomChanged(c rooms.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
}

type fixture struct {
	*rooms.Service
	store *storage.Store
	heard *recorder
	t     testing.TB
}

func open(t testing.TB, url string) *fixture {
	t.Helper()
	return openAs(t, url, "test")
}

func openAs(t testing.TB, url string, server matrix.ServerName) *fixture {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	store, heard := storage.New(db), &recorder{}
	service := rooms.New(rooms.Options{
		Store: store, ServerName: server, Key: key, DefaultVersion: "12",
		Listener: heard, Profiles: nobody{}, Directory: nobody{}, Settings: nobody{},
	})
	return &fixture{service, store, heard, t}
}

func (f *fixture) create(req rooms.CreateRequest) matrix.RoomID {
	f.t.Helper()
	if req.Creator == "" {
		req.Creator = alice
	}
	id, err := f.Create(f.t.Context(), req)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

func (f *fixture) send(room matrix.RoomID, sender matrix.UserID, txn, body string) matrix.EventID {
	f.t.Helper()
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	id, err := f.Send(f.t.Context(), rooms.SendRequest{Room: room, Sender: sender, Type: "m.room.message", Content: content, TxnKey: txn})
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

func (f *fixture) join(room matrix.RoomID, user matrix.UserID) {
	f.t.Helper()
	if _, err := f.Join(f.t.Context(), string(room), rooms.MemberRequest{Sender: user}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) wantCode(err error, code string) {
	f.t.Helper()
	if matrix.Code(err) != code {
		f.t.Errorf("got %v, want %s", err, code)
	}
}

func (f *fixture) history(room matrix.RoomID) []*storage.Event {
	f.t.Helper()
	info, err := f.Info(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	events, err := f.store.Events.Forward(f.t.Context(), info.NID, -1<<62, 1<<62, 10_000)
	if err != nil {
		f.t.Fatal(err)
	}
	return events
}

func TestANewRoomHasTheStateOfItsPreset(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		for _, version := range []string{"1", "2", "3", "9", "10", "11", "12"} {
			room := f.create(rooms.CreateRequest{Preset: "public_chat", Version: version, Name: "Bridges", Topic: "of steel", AliasName: "b" + version, Visibility: "public"})
			var types []string
			for _, e := range f.history(room) {
				types = append(types, e.Type)
			}
			want := []string{"m.room.create", "m.room.member", "m.room.power_levels", "m.room.canonical_alias", "m.room.join_rules",
				"m.room.history_visibility", "m.room.guest_access", "m.room.name", "m.room.topic"}
			if !slices.Equal(types, want) {
				t.Errorf("version %s: %v", version, types)
			}
			f.join(room, bob)
			found, err := f.Resolve(t.Context(), matrix.NewRoomAlias("b"+version, "test"), "")
			if err != nil || found.RoomID != room {
				t.Errorf("the alias points to %v, %v", found, err)
			}
		}
		page, err := f.PublicRooms(t.Context(), rooms.PublicRoomsQuery{Search: "STEEL", Limit: 4})
		if err != nil || len(page.Rooms) != 4 || page.Next == "" || page.Rooms[0].JoinedMembers != 2 {
			t.Errorf("got %+v, %v", page, err)
		}
		rest, err := f.PublicRooms(t.Context(), rooms.PublicRoomsQuery{Search: "STEEL", Limit: 4, Since: page.Next})
		if err != nil || len(rest.Rooms) != 3 || rest.Next != "" {
			t.Errorf("the second page is %+v, %v", rest, err)
		}
	})
}

func TestARepeatedTransactionMakesOneEvent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{})
		ids := make([]matrix.EventID, 20)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() { ids[i] = f.send(room, alice, "txn", "once") })
		}
		all.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("%s and %s", id, ids[0])
			}
		}
		reopened := open(t, url)
		if id := reopened.send(room, alice, "txn", "once"); id != ids[0] {
			t.Errorf("after a restart it is %s", id)
		}
	})
}

func TestManySendersKeepOneOrder(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		users := make([]matrix.UserID, 8)
		for i := range users {
			users[i] = matrix.NewUserID(fmt.Sprint("u", i), "test")
			f.join(room, users[i])
		}
		var all sync.WaitGroup
		for _, user := range users {
			all.Go(func() {
				for i := range 25 {
					f.send(room, user, fmt.Sprint(i), fmt.Sprint(i))
				}
			})
		}
		all.Wait()
		events := f.history(room)
		for i, e := range events[1:] {
			if len(e.PrevEvents) != 1 || e.PrevEvents[0] != events[i].ID || e.Position != events[i].Position+1 {
				t.Fatalf("%s at %d does not follow %s at %d", e.ID, e.Position, events[i].ID, events[i].Position)
			}
		}
		f.heard.mu.Lock()
		defer f.heard.mu.Unlock()
		for i, c := range f.heard.changes {
			if c.Event.Position != int64(i+1) {
				t.Fatalf("readers hear position %d as number %d", c.Event.Position, i+1)
			}
		}
		if len(f.heard.changes) != len(events) {
			t.Errorf("readers hear of %d events, the room has %d", len(f.heard.changes), len(events))
		}
	})
}

func TestWhoMayDoWhat(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		ctx := t.Context()
		room := f.create(rooms.CreateRequest{})
		_, err := f.Join(ctx, string(room), rooms.MemberRequest{Sender: bob})
		f.wantCode(err, "M_FORBIDDEN")
		_, err = f.Send(ctx, rooms.SendRequest{Room: room, Sender: bob, Type: "m.room.message", Content: json.RawMessage(`{}`)})
		f.wantCode(err, "M_FORBIDDEN")
		_, err = f.Send(ctx, rooms.SendRequest{Room: "!none", Sender: bob, Type: "m.room.message", Content: json.RawMessage(`{}`)})
		f.wantCode(err, "M_FORBIDDEN")
		if err := f.Invite(ctx, rooms.MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		f.join(room, bob)
		f.wantCode(f.Kick(ctx, rooms.MemberRequest{Room: room, Sender: bob, Target: alice}), "M_FORBIDDEN")
		f.wantCode(f.Kick(ctx, rooms.MemberRequest{Room: room, Sender: alice, Target: carol}), "M_FORBIDDEN")
		if err := f.Ban(ctx, rooms.MemberRequest{Room: room, Sender: alice, Target: bob, Reason: "noise"}); err != nil {
			t.Fatal(err)
		}
		f.wantCode(f.Invite(ctx, rooms.MemberRequest{Room: room, Sender: alice, Target: bob}), "M_FORBIDDEN")
		if err := f.Unban(ctx, rooms.MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		if err := f.Leave(ctx, rooms.MemberRequest{Room: room, Sender: bob}); err != nil {
			t.Errorf("to leave twice: %v", err)
		}
		f.wantCode(f.Forget(ctx, room, alice), "M_UNKNOWN")
		if err := f.Forget(ctx, room, bob); err != nil {
			t.Fatal(err)
		}
		_, err = f.Access(ctx, room, bob)
		f.wantCode(err, "M_FORBIDDEN")
		_, err = f.Send(ctx, rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{"f":1.5}`)})
		f.wantCode(err, "M_BAD_JSON")
		big, _ := json.Marshal(map[string]string{"body": string(make([]byte, 70_000))})
		_, err = f.Send(ctx, rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: big})
		f.wantCode(err, "M_TOO_LARGE")
	})
}

func TestARestrictedRoomAdmitsMembersOfAnother(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		space := f.create(rooms.CreateRequest{Preset: "public_chat"})
		rule, _ := json.Marshal(map[string]any{"join_rule": "restricted", "allow": []any{map[string]any{"type": "m.room_membership", "room_id": space}}})
		room := f.create(rooms.CreateRequest{InitialState: []rooms.InitialState{{Type: "m.room.join_rules", Content: rule}}})
		_, err := f.Join(t.Context(), string(room), rooms.MemberRequest{Sender: bob})
		f.wantCode(err, "M_FORBIDDEN")
		f.join(space, bob)
		f.join(room, bob)
	})
}

func TestARedactionTakesTheContentAway(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		ctx := t.Context()
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.join(room, bob)
		f.join(room, carol)
		said := f.send(room, bob, "1", "regrettable")
		_, err := f.Send(ctx, rooms.SendRequest{Room: room, Sender: carol, Type: "m.room.redaction", Redacts: said, Content: json.RawMessage(`{}`)})
		f.wantCode(err, "M_FORBIDDEN")
		_, err = f.Send(ctx, rooms.SendRequest{Room: room, Sender: carol, Type: "m.room.redaction", Redacts: "$none", Content: json.RawMessage(`{}`)})
		f.wantCode(err, "M_NOT_FOUND")
		if _, err := f.Send(ctx, rooms.SendRequest{Room: room, Sender: bob, Type: "m.room.redaction", Redacts: said, Content: json.RawMessage(`{"reason":"oops"}`)}); err != nil {
			t.Fatal(err)
		}
		for _, f := range []*fixture{f, open(t, url)} {
			e, membership, err := f.Event(ctx, room, said, carol)
			if err != nil {
				t.Fatal(err)
			}
			shown, err := f.Client(ctx, e, rooms.Reader{User: carol}, membership)
			if err != nil {
				t.Fatal(err)
			}
			var event struct {
				Content  map[string]any
				Unsigned struct {
					Because struct {
						Content struct{ Reason string }
					} `json:"redacted_because"`
				}
			}
			if err := json.Unmarshal(shown, &event); err != nil {
				t.Fatal(err)
			}
			if len(event.Content) != 0 || event.Unsigned.Because.Content.Reason != "oops" {
				t.Errorf("carol sees %s", shown)
			}
		}
	})
}

func TestHistoryVisibility(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, visibility := range []string{"world_readable", "shared", "invited", "joined"} {
			f := open(t, url)
			ctx := t.Context()
			content, _ := json.Marshal(map[string]string{"history_visibility": visibility})
			room := f.create(rooms.CreateRequest{Preset: "public_chat", InitialState: []rooms.InitialState{{Type: "m.room.history_visibility", Content: content}}})
			before := f.send(room, alice, "1", "before")
			if err := f.Invite(ctx, rooms.MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
				t.Fatal(err)
			}
			invited := f.send(room, alice, "2", "invited")
			f.join(room, bob)
			joined := f.send(room, alice, "3", "joined")
			if err := f.Leave(ctx, rooms.MemberRequest{Room: room, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			after := f.send(room, alice, "4", "after")
			got := ""
			for _, id := range []matrix.EventID{before, invited, joined, after} {
				if _, _, err := f.Event(ctx, room, id, bob); err == nil {
					got += "y"
				} else {
					got += "n"
				}
			}
			want := map[string]string{"world_readable": "yyyy", "shared": "yyyn", "invited": "nyyn", "joined": "nnyn"}[visibility]
			if got != want {
				t.Errorf("%s: bob sees %s, want %s", visibility, got, want)
			}
			_, _, err := f.Event(ctx, room, joined, carol)
			if (err == nil) != (visibility == "world_readable") {
				t.Errorf("%s: carol, who was never there: %v", visibility, err)
			}
		}
	})
}

// A room has nothing from before it was asked for, at whatever part of a millisecond that is.
func TestRoomsAreFromAfterTheRequest(t *testing.T) {
	f := open(t, testkit.SQLite(t))
	for range 20 {
		before := time.Now().UnixMilli()
		for _, e := range f.history(f.create(rooms.CreateRequest{})) {
			if e.OriginServerTS <= before {
				t.Fatalf("%s is from %d, and the request from %d", e.Type, e.OriginServerTS, before)
			}
		}
	}
}
