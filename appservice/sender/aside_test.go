package sender_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/registration"
)

// asideOf adds a change that is no event to a world of its own, at the next
// position of the stream.
func asideOf(w, to *world, c sender.Change) {
	w.mu.Lock()
	w.head++
	to.mu.Lock()
	to.head = w.head - 1
	to.mu.Unlock()
	w.mu.Unlock()
	to.add(c)
}

func TestDeviceListsGoToThoseWhoSeeTheUser(t *testing.T) {
	w, devices, keys := newWorld(), newWorld(), newWorld()
	as, reg := fake(t, "irc")
	reg.DeviceLists = true
	other, otherReg := fake(t, "other") // wants none of it
	otherReg.Namespaces.Rooms = []registration.Namespace{namespace(t, ".*", false)}
	start(t, w, sender.Options{Registry: registry(t, reg, otherReg), Devices: aside{devices}, Keys: aside{keys}})
	const second = matrix.RoomID("!second:" + server)
	ghost, alice, carol := matrix.UserID("@irc_x:"+server), matrix.UserID("@alice:"+server), matrix.UserID("@carol:elsewhere.example")
	tell := func(c sender.Change) {
		c.Key, c.Body = string(c.Sender), text("")
		asideOf(w, devices, c)
	}
	tell(sender.Change{Kind: sender.DeviceChanged, Sender: alice, Rooms: []matrix.RoomID{room}}) // before anybody is there
	for _, r := range []matrix.RoomID{room, second} {
		w.member(r, ghost, ghost, "join")
	}
	tell(sender.Change{Kind: sender.DeviceChanged, Sender: ghost})
	tell(sender.Change{Kind: sender.DeviceChanged, Sender: alice, Rooms: []matrix.RoomID{"!x:y", room}})
	tell(sender.Change{Kind: sender.DeviceLeft, Sender: alice, Room: room, Rooms: []matrix.RoomID{second}})
	tell(sender.Change{Kind: sender.DeviceChanged, Sender: carol, Room: second})
	tell(sender.Change{Kind: sender.DeviceLeft, Sender: carol, Room: second, Rooms: []matrix.RoomID{"!x:y"}})
	tell(sender.Change{Kind: sender.DeviceLeft, Sender: ghost, Room: second})
	asideOf(w, keys, sender.Change{Kind: sender.KeyCounts, Sender: alice, Body: text("")})
	asideOf(w, keys, sender.Change{Kind: sender.KeyCounts, Sender: ghost, Body: text(""),
		Keys: map[matrix.DeviceID]sender.UnusedKeys{"D": {OneTime: map[string]int{"a": 1}}}})
	w.say(room, alice)
	as.Until(t, 3)
	other.Until(t, 3)
	changed, left := map[matrix.UserID]bool{}, map[matrix.UserID]bool{}
	for _, txn := range as.Transactions() {
		if lists := txn.DeviceLists; lists != nil {
			for _, user := range lists.Changed {
				changed[user], left[user] = true, false
			}
			for _, user := range lists.Left {
				changed[user], left[user] = false, true
			}
		}
		if len(txn.OneTimeKeyCounts[alice]) > 0 {
			t.Error("the service was told of alice's keys")
		}
	}
	if !changed[ghost] || !changed[alice] || changed[carol] || !left[carol] || left[alice] || left[ghost] {
		t.Errorf("changed are %v, left have %v", changed, left)
	}
	if !slices.ContainsFunc(as.Transactions(), func(txn *appservice.Transaction) bool {
		return txn.OneTimeKeyCounts[ghost]["D"]["a"] == 1 && txn.FallbackKeyTypes[ghost]["D"] != nil
	}) {
		t.Error("the service was not told of its own user's keys")
	}
	for _, txn := range other.Transactions() {
		if txn.DeviceLists != nil || txn.OneTimeKeyCounts != nil {
			t.Errorf("a service got %+v, which it had not asked for", txn)
		}
	}
}

// Of what says how something is, the newest alone waits for a service that is
// down; of what has happened, everything.
func TestOldNewsDoesNotWait(t *testing.T) {
	w, receipts, messages := newWorld(), newWorld(), newWorld()
	as, reg := fake(t, "irc")
	reg.ReceiveEphemeral = true
	var down atomic.Bool
	as.Answer = func(testkit.Attempt) int {
		if down.Load() {
			return http.StatusBadGateway
		}
		return http.StatusOK
	}
	start(t, w, sender.Options{Registry: registry(t, reg), Ephemeral: aside{receipts}, ToDevice: aside{messages}})
	ghost := matrix.UserID("@irc_x:" + server)
	w.member(room, ghost, ghost, "join")
	as.Until(t, 1)
	down.Store(true)
	w.say(room, ghost)
	as.UntilAttempt(t, 3)
	for i := range 50 {
		for _, user := range []matrix.UserID{ghost, "@alice:" + server} {
			asideOf(w, receipts, sender.Change{Kind: sender.Ephemeral, Room: room, Sender: user, Key: string(user), Body: text(fmt.Sprintf(`{"type":"%s %d"}`, user, i))})
		}
		asideOf(w, messages, sender.Change{Kind: sender.ToDevice, Target: ghost, Body: text(fmt.Sprintf(`{"type":"%d"}`, i))})
	}
	w.say(room, ghost)
	down.Store(false)
	as.Until(t, 3)
	if got := kinds(as, true); len(got) != 50 || got[49] != "49" {
		t.Errorf("%d messages came: %q", len(got), got)
	}
	got := kinds(as, false)
	if len(got) > 20 || len(got) < 2 {
		t.Errorf("%d receipts came: %q", len(got), got)
	}
	for _, user := range []matrix.UserID{ghost, "@alice:" + server} {
		if !slices.Contains(got, fmt.Sprint(user, " ", 49)) {
			t.Errorf("the newest receipt of %s is not in %q", user, got)
		}
	}
}

// whole is a source that gives out all that there is at once.
type whole struct{ *world }

func (h whole) Changes(ctx context.Context, after, upTo int64, _ int) ([]sender.Change, error) {
	return h.world.Changes(ctx, after, upTo, math.MaxInt)
}

// together adds changes that are no events at one position.
func together(w, to *world, changes []sender.Change) {
	w.mu.Lock()
	w.head++
	to.mu.Lock()
	for _, c := range changes {
		c.Position, c.Key, c.Size = w.head, string(c.Sender), len(c.Sender)
		to.changes = append(to.changes, c)
	}
	to.mu.Unlock()
	wake, position := w.wake, w.head
	w.mu.Unlock()
	wake(position)
}

// Of many users whose keys matter, or do not any more, all at once and again, a service
// that was away learns what has become of each, in one list.
func TestTheLastWordOnManyDeviceLists(t *testing.T) {
	const users = 20_000
	w, devices := newWorld(), newWorld()
	as, reg := fake(t, "irc")
	reg.DeviceLists = true
	open := toll(as, http.StatusTeapot)
	s := start(t, w, sender.Options{Registry: registry(t, reg), Devices: whole{devices}})
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	as.UntilAttempt(t, 1) // and not taken: the rest waits behind that
	say := func(kind sender.Kind, every int) {
		var changes []sender.Change
		for i := range users {
			if i%every == 0 {
				changes = append(changes, sender.Change{Kind: kind, Sender: matrix.UserID(fmt.Sprintf("@u%d:%s", i, server)), Room: room})
			}
		}
		together(w, devices, changes)
	}
	say(sender.DeviceChanged, 1)
	say(sender.DeviceLeft, 2)
	say(sender.DeviceChanged, 4)
	say(sender.DeviceChanged, 4)
	last := w.say(room, "@irc_x:"+server)
	until(t, s, "all is handed out", func(st sender.Status) bool { return st.Behind == 0 || !st.Live })
	open()
	s.Retry("irc")
	as.UntilSeen(t, "the last event", func(txns []*appservice.Transaction) bool {
		return slices.ContainsFunc(txns, func(txn *appservice.Transaction) bool {
			return slices.ContainsFunc(txn.Events, func(e json.RawMessage) bool { return strings.Contains(string(e), fmt.Sprintf(`"$%d"`, last)) })
		})
	})
	became := map[matrix.UserID]string{}
	for _, txn := range as.Transactions() {
		if txn.DeviceLists == nil {
			continue
		}
		for _, user := range txn.DeviceLists.Changed {
			became[user] = "changed"
		}
		for _, user := range txn.DeviceLists.Left {
			if slices.Contains(txn.DeviceLists.Changed[:min(100, len(txn.DeviceLists.Changed))], user) {
				t.Errorf("%s is in both lists", user)
			}
			became[user] = "left"
		}
	}
	for i := range users {
		want := "changed"
		if i%2 == 0 && i%4 != 0 {
			want = "left"
		}
		if user := matrix.UserID(fmt.Sprintf("@u%d:%s", i, server)); became[user] != want {
			t.Fatalf("%s has %q, want %q", user, became[user], want)
		}
	}
}
