package sender_test

import (
	"fmt"
	"net/http"
	"slices"
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
