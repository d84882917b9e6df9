package federation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gmsl "github.com/matrix-org/gomatrixserverlib"

	"trestle/homeserver/federation"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
)

func ids(events []*matrix.Event) []string {
	var list []string
	for _, e := range events {
		list = append(list, string(e.ID))
	}
	return list
}

func idsOf(events ...gmsl.PDU) []string {
	var list []string
	for _, e := range events {
		list = append(list, e.EventID())
	}
	return list
}

func lookup(t testing.TB, id string) *roomversion.Version {
	t.Helper()
	v, ok := roomversion.Lookup(id)
	if !ok {
		t.Fatalf("there is no version %s", id)
	}
	return v
}

// Rooms of another homeserver's library can be joined, left and read, as the specification has it.
func TestRoomsOfAnotherServersLibrary(t *testing.T) {
	for _, c := range []struct{ version, rule string }{
		{"1", "public"}, {"2", "public"}, {"3", "public"}, {"5", "public"}, {"6", "public"}, {"8", "restricted"}, {"10", "restricted"}, {"11", "public"}, {"12", "restricted"},
	} {
		t.Run(c.version, func(t *testing.T) { testRooms(t, c.version, c.rule) })
	}
}

func testRooms(t *testing.T, version, rule string) {
	w := newWorld(t)
	w.now = w.now.Truncate(time.Millisecond)
	r := newResident(w, version, rule)
	v := lookup(t, version)
	peers := federation.NewPeers(w.client(), w.ring(openDB(t, testkit.SQLite(t))))
	ctx, room, server := t.Context(), matrix.RoomID(r.room.String()), r.p.name
	const user = matrix.UserID("@user:" + here)

	joining, err := peers.MakeJoin(ctx, server, room, user, nil)
	if err != nil || joining.Version != v || joining.Event.Depth != int64(len(r.state)+1) || joining.Event.OriginServerTS != w.now.UnixMilli() {
		t.Fatalf("%+v %v", joining, err)
	}
	if asks := strings.Contains(string(joining.Event.Content), r.creator()); asks != (rule == "restricted") {
		t.Errorf("the join is %s", joining.Event.Content)
	}
	join, err := joining.Event.Build(v, here, w.key)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := peers.SendJoin(ctx, server, join)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ids(answer.State), idsOf(r.state...)) || !slices.Equal(ids(answer.Auth), idsOf(r.state[0])) || answer.LeftOut != 0 {
		t.Errorf("%+v", answer)
	}
	if answer.Event.ID != join.ID || len(answer.Event.SignatureKeys(server)) > 0 != (rule == "restricted") || len(answer.Event.SignatureKeys(here)) != 1 {
		t.Errorf("the join is %s", answer.Event.JSON())
	}
	good, err := peers.Verified(ctx, append(answer.State, answer.Event))
	if err != nil || len(good) != len(r.state)+1 {
		t.Errorf("%d events are good: %v", len(good), err)
	}

	leaving, err := peers.MakeLeave(ctx, server, room, user, nil)
	if err != nil {
		t.Fatal(err)
	}
	leave, err := leaving.Event.Build(v, here, w.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := peers.SendLeave(ctx, server, leave); err != nil {
		t.Error(err)
	}

	message := matrix.EventID(r.message.EventID())
	e, err := peers.Event(ctx, server, v, room, message)
	if err != nil || e.ID != message || !e.CheckHash() {
		t.Errorf("%+v %v", e, err)
	}
	auth, err := peers.EventAuth(ctx, server, v, room, message)
	if err != nil || !slices.Equal(ids(auth), idsOf(r.state[:3]...)) {
		t.Errorf("%v %v", auth, err)
	}
	state, auth, err := peers.State(ctx, server, v, room, message)
	if err != nil || !slices.Equal(ids(state), idsOf(r.state...)) || !slices.Equal(ids(auth), idsOf(r.state[:2]...)) {
		t.Errorf("%v %v %v", state, auth, err)
	}
	stateIDs, authIDs, err := peers.StateIDs(ctx, server, room, message)
	if err != nil || len(stateIDs) != len(state) || stateIDs[1] != state[1].ID || len(authIDs) != 2 {
		t.Errorf("%v %v %v", stateIDs, authIDs, err)
	}
	before, err := peers.Backfill(ctx, server, v, room, []matrix.EventID{message, state[0].ID}, 5)
	if err != nil || !slices.Equal(ids(before), idsOf(r.message, r.state[3], r.state[2])) {
		t.Errorf("%v %v", ids(before), err)
	}
	missing, err := peers.MissingEvents(ctx, server, v, room, []matrix.EventID{state[0].ID}, []matrix.EventID{message}, 2, 7)
	if err != nil || !slices.Equal(ids(missing), idsOf(r.state[2:]...)) {
		t.Errorf("%v %v", ids(missing), err)
	}
	id, at, err := peers.TimestampToEvent(ctx, server, room, w.now.UnixMilli()+5, true)
	if err != nil || id != message || at != w.now.UnixMilli() {
		t.Errorf("%s %d %v", id, at, err)
	}
	if good, err := peers.Verified(ctx, append(before, missing...)); err != nil || len(good) != len(before)+len(missing) {
		t.Errorf("%v %v", ids(good), err)
	}

	invited := "@invited:" + string(server)
	own, err := matrix.EventTemplate{
		RoomID: room, Sender: user, Type: "m.room.member", StateKey: &invited, Content: []byte(`{"membership":"invite"}`), Depth: 10,
		OriginServerTS: w.now.UnixMilli(), PrevEvents: []matrix.EventID{message}, AuthEvents: []matrix.EventID{state[1].ID},
	}.Build(v, here, w.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := peers.Invite(ctx, server, own, []json.RawMessage{r.state[0].JSON()})
	if err != nil || signed.ID != own.ID || !signed.CheckHash() {
		t.Fatalf("%+v %v", signed, err)
	}
	if good, err := peers.Verified(ctx, []*matrix.Event{signed}); err != nil || len(good) != 1 || len(signed.SignatureKeys(server)) != 1 {
		t.Errorf("%s %v", signed.JSON(), err)
	}
	testRefusals(t, peers, r, own)
}

// testRefusals has the library refuse what it should, so that it is seen to judge.
func testRefusals(t *testing.T, peers *federation.Peers, r *resident, invite *matrix.Event) {
	t.Helper()
	room := matrix.RoomID(r.room.String())
	if _, err := peers.MakeJoin(t.Context(), r.p.name, room, "@user:elsewhere.example", nil); matrix.Code(federation.ForUser(r.p.name, err)) != "M_FORBIDDEN" {
		t.Errorf("somebody else's user: %v", err)
	}
	forged, err := matrix.ParseEvent(invite.Version, []byte(strings.Replace(string(invite.JSON()), `"depth":10`, `"depth":11`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peers.Invite(t.Context(), r.p.name, forged, []json.RawMessage{r.state[0].JSON()}); matrix.Code(federation.ForUser(r.p.name, err)) != "M_FORBIDDEN" {
		t.Errorf("a signature that is wrong: %v", err)
	}
}

// Rooms of another homeserver's library can be knocked at.
func TestKnockingAtAnotherServersLibrary(t *testing.T) {
	for _, version := range []string{"7", "10", "12"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t)
			r := newResident(w, version, "knock")
			v := lookup(t, version)
			peers := federation.NewPeers(w.client(), w.ring(openDB(t, testkit.SQLite(t))))
			room := matrix.RoomID(r.room.String())
			knocking, err := peers.MakeKnock(t.Context(), r.p.name, room, "@user:"+matrix.UserID(here), nil)
			if err != nil {
				t.Fatal(err)
			}
			knock, err := knocking.Event.Build(v, here, w.key)
			if err != nil {
				t.Fatal(err)
			}
			stripped, err := peers.SendKnock(t.Context(), r.p.name, knock)
			want := fmt.Sprintf(`{"content":{"join_rule":"knock"},"sender":%q,"state_key":"","type":"m.room.join_rules"}`, r.creator())
			if err != nil || len(stripped) != 2 || string(stripped[1]) != want || !strings.Contains(string(stripped[0]), `"m.room.create"`) {
				t.Errorf("%s %v", stripped, err)
			}
		})
	}
}
