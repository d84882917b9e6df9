package sender_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/registration"
)

func TestInterest(t *testing.T) {
	const (
		alice  = matrix.UserID("@alice:" + server)
		ghost  = matrix.UserID("@irc_x:" + server)
		remote = matrix.UserID("@irc_x:elsewhere.example")
		bot    = matrix.UserID("@ircbot:" + server)
	)
	tests := map[string]struct {
		prepare func(w *world) // before the service is there
		happens func(w *world)
		sees    int // of the events that happen
	}{
		"people among themselves": {nil, func(w *world) { w.say(room, alice) }, 0},
		"a ghost speaks":          {nil, func(w *world) { w.say(room, ghost) }, 1},
		"the bot speaks":          {nil, func(w *world) { w.say(room, bot) }, 1},
		"a remote namesake":       {nil, func(w *world) { w.member(room, remote, remote, "join"); w.say(room, remote) }, 0},
		"a ghost is invited":      {nil, func(w *world) { w.member(room, alice, ghost, "invite"); w.say(room, alice) }, 1},
		"a ghost knocks":          {nil, func(w *world) { w.member(room, ghost, ghost, "knock"); w.say(room, alice) }, 1},
		"a ghost is in the room":  {func(w *world) { w.member(room, ghost, ghost, "join") }, func(w *world) { w.say(room, alice) }, 1},
		"the bot is in the room":  {func(w *world) { w.member(room, bot, bot, "join") }, func(w *world) { w.say(room, alice) }, 1},
		"a ghost joins, leaves": {nil, func(w *world) {
			w.member(room, ghost, ghost, "join")
			w.say(room, alice)
			w.member(room, ghost, ghost, "leave")
			w.say(room, alice)
		}, 3},
		"the last ghost is banned": {func(w *world) { w.member(room, ghost, ghost, "join") }, func(w *world) { w.member(room, alice, ghost, "ban"); w.say(room, alice) }, 1},
		"one of two ghosts leaves": {func(w *world) { w.member(room, ghost, ghost, "join"); w.member(room, bot, bot, "join") }, func(w *world) { w.member(room, ghost, ghost, "leave"); w.say(room, alice) }, 2},
		"a ghost joins twice": {func(w *world) { w.member(room, ghost, ghost, "join") }, func(w *world) {
			w.member(room, ghost, ghost, "join")
			w.member(room, ghost, ghost, "leave")
			w.say(room, alice)
		}, 2},
		"the room has an alias":      {func(w *world) { w.aliases[room] = []matrix.RoomAlias{"#x:" + server, "#irc_x:" + server} }, func(w *world) { w.say(room, alice) }, 1},
		"the room's ID is watched":   {nil, func(w *world) { w.say("!watched:"+server, alice) }, 1},
		"state is resolved":          {nil, func(w *world) { w.say(room, alice); w.joinSilently(room, ghost); w.say(room, alice) }, 2},
		"an invitation is withdrawn": {nil, func(w *world) { w.add(sender.Change{Room: room, Sender: alice, Target: ghost, Membership: "leave"}) }, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if test.prepare != nil {
				test.prepare(w)
			}
			as, reg := fake(t, "irc")
			reg.Namespaces.Aliases = []registration.Namespace{namespace(t, "#irc_.*", true)}
			reg.Namespaces.Rooms = []registration.Namespace{namespace(t, "!watched:.*", false)}
			start(t, w, sender.Options{Registry: registry(t, reg)})
			before := w.head
			test.happens(w)
			last := w.say("!end:"+server, ghost)
			as.Until(t, test.sees+1)
			got := eventIDs(t, as.Events())
			if len(got) != test.sees+1 || got[test.sees] != fmt.Sprintf("$%d", last) {
				t.Errorf("after position %d it sees %v, want %d and the last", before, got, test.sees)
			}
		})
	}
}

// joinSilently is a join that state resolution brings about with an event that
// says something else.
func (w *world) joinSilently(room matrix.RoomID, user matrix.UserID) {
	w.add(sender.Change{Room: room, Sender: "@alice:" + server, Target: user, Reset: true})
}

func TestAliasesAreDecidedAnew(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	reg.Namespaces.Aliases = []registration.Namespace{namespace(t, "#irc_.*", true)}
	s := start(t, w, sender.Options{Registry: registry(t, reg)})
	set := func(aliases ...matrix.RoomAlias) {
		w.mu.Lock()
		w.aliases[room] = aliases
		w.mu.Unlock()
		s.AliasesChanged(room)
	}
	w.say(room, "@alice:"+server)
	w.say(room, "@irc_x:"+server)
	as.Until(t, 1)
	set("#irc_x:" + server)
	w.say(room, "@alice:"+server)
	as.Until(t, 2)
	set()
	w.say(room, "@alice:"+server)
	w.say(room, "@irc_x:"+server)
	as.Until(t, 3)
	if got := eventIDs(t, as.Events()); !slices.Equal(got, []string{"$2", "$3", "$5"}) {
		t.Errorf("seen are %v", got)
	}
}

// What a service that was down gets is decided by who was in the room then.
func TestInterestIsThatOfTheTime(t *testing.T) {
	w := newWorld()
	store := newMemory()
	as, reg := fake(t, "irc")
	regs := registry(t, reg)
	closeNow(start(t, w, sender.Options{Registry: regs, Store: store}))
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	w.say(room, "@alice:"+server)
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "leave")
	w.say(room, "@alice:"+server)
	w.skip(1_000_000) // too far behind to be served with the others
	w.say(room, "@irc_x:"+server)
	start(t, w, sender.Options{Registry: regs, Store: store})
	as.Until(t, 4)
	if got, want := eventIDs(t, as.Events()), w.expected(regs.Load(), "irc"); !slices.Equal(got, want) || len(want) != 4 {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A room that cannot be read for a moment changes nothing in what is seen of
// others, though they have been followed beyond by then.
func TestInterestAfterAFailure(t *testing.T) {
	for _, near := range []bool{true, false} {
		w := newWorld()
		store := newMemory()
		as, reg := fake(t, "irc")
		regs := registry(t, reg)
		w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
		closeNow(start(t, w, sender.Options{Registry: regs, Store: store}))
		w.say(room, "@alice:"+server)
		w.member(room, "@irc_x:"+server, "@irc_x:"+server, "leave")
		w.say("!other:"+server, "@irc_x:"+server)
		if !near {
			w.skip(1_000_000)
		}
		w.mu.Lock()
		w.failing = 2
		w.mu.Unlock()
		start(t, w, sender.Options{Registry: regs, Store: store})
		as.Until(t, 3)
		if got := eventIDs(t, as.Events()); !slices.Equal(got, []string{"$2", "$3", "$4"}) {
			t.Errorf("near %v: %v", near, got)
		}
	}
}

// aside is a source of what is no event.
type aside struct{ *world }

func TestEphemeralAndToDevice(t *testing.T) {
	w, receipts, messages := newWorld(), newWorld(), newWorld()
	as, reg := fake(t, "irc")
	reg.ReceiveEphemeral = true
	deaf, deafReg := fake(t, "deaf")
	deafReg.Namespaces.Rooms = []registration.Namespace{namespace(t, ".*", false)}
	s := start(t, w, sender.Options{Registry: registry(t, reg, deafReg), Ephemeral: aside{receipts}, ToDevice: aside{messages}})
	ghost, alice := matrix.UserID("@irc_x:"+server), matrix.UserID("@alice:"+server)
	other := func(to *world, c sender.Change) {
		w.mu.Lock()
		w.head++
		to.head = w.head - 1
		w.mu.Unlock()
		to.add(c)
	}
	other(receipts, sender.Change{Kind: sender.Ephemeral, Room: room, Sender: alice, Body: text(`{"type":"early"}`)})
	w.member(room, ghost, ghost, "join")
	other(receipts, sender.Change{Kind: sender.Ephemeral, Room: room, Sender: alice, Body: text(`{"type":"receipt"}`)})
	other(receipts, sender.Change{Kind: sender.Ephemeral, Room: room, Sender: alice, Private: true, Body: text(`{"type":"private"}`)})
	other(receipts, sender.Change{Kind: sender.Ephemeral, Room: room, Sender: ghost, Private: true, Body: text(`{"type":"own"}`)})
	other(messages, sender.Change{Kind: sender.ToDevice, Sender: ghost, Target: alice, Body: text(`{"type":"for alice"}`)})
	other(messages, sender.Change{Kind: sender.ToDevice, Sender: alice, Target: ghost, Body: text(`{"type":"for the ghost"}`)})
	other(receipts, sender.Change{Kind: sender.Ephemeral, Sender: alice, Rooms: []matrix.RoomID{"!x:y", room}, Body: text(`{"type":"presence"}`)})
	w.say(room, alice)
	as.Until(t, 2)
	deaf.Until(t, 2)
	s.Offer(offer("1", sender.Change{Kind: sender.Ephemeral, Room: room, Body: text(`{"type":"typing"}`)}))
	s.Offer(offer("2", sender.Change{Kind: sender.Ephemeral, Room: "!other:" + server, Body: text(`{"type":"typing elsewhere"}`)}))
	as.UntilAttempt(t, len(as.Attempts())+1)
	if got := kinds(as, false); !slices.Equal(got, []string{"receipt", "own", "presence", "typing"}) {
		t.Errorf("ephemeral: %q", got)
	}
	if got := kinds(as, true); !slices.Equal(got, []string{"for the ghost"}) {
		t.Errorf("to-device: %q", got)
	}
	if len(kinds(deaf, false))+len(kinds(deaf, true)) > 0 {
		t.Error("a service got what it had not asked for")
	}
}

func offer(key string, c sender.Change) sender.Offer {
	return sender.Offer{Key: key, Make: func(context.Context) (sender.Change, error) { return c, nil }}
}

func kinds(as *testkit.FakeAS, toDevice bool) (types []string) {
	for _, txn := range as.Transactions() {
		list := txn.Ephemeral
		if toDevice {
			list = txn.ToDevice
		}
		for _, raw := range list {
			types = append(types, string(raw[len(`{"type":"`):len(raw)-2]))
		}
	}
	return types
}

// Of two offers with the same key that wait, the newer one is worth sending.
func TestOffersReplaceEachOther(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	reg.PushEphemeral = true
	first, release := make(chan struct{}, 10), make(chan struct{})
	as.Answer = func(testkit.Attempt) int { first <- struct{}{}; <-release; return 200 }
	s := start(t, w, sender.Options{Registry: registry(t, reg)})
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	<-first
	for i := range 50 {
		s.Offer(offer("typing", sender.Change{Kind: sender.Ephemeral, Room: room, Body: text(fmt.Sprintf(`{"type":"%d"}`, i)), Time: time.Now().UnixMilli()}))
	}
	w.say(room, "@alice:"+server)
	close(release)
	as.Until(t, 2)
	got := kinds(as, false)
	for len(got) == 0 || got[len(got)-1] != "49" {
		as.UntilAttempt(t, len(as.Attempts())+1)
		got = kinds(as, false)
	}
	if len(got) > 3 {
		t.Errorf("typing was sent as %q", got)
	}
}
