package outbox_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"trestle/homeserver/outbox"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// Each server is sent what is said while it is in a room, and how it comes out.
func TestEventsGoToTheServersInARoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		a, b := w.peer(), w.peer()
		room, other := w.room(), w.room()
		w.say(room, "before")
		w.plant(room, a.user("anne"), "join", nil)
		w.plant(other, a.user("anne"), "join", nil)
		w.plant(other, b.user("bert"), "join", nil)
		w.say(room, "to a")
		a.wants("to a")
		w.plant(room, b.user("bert"), "join", nil)
		w.plant(room, b.user("beth"), "join", nil)
		w.say(room, "to both")
		a.wants("to both")
		b.wants("to both")
		if _, err := w.rooms().Join(t.Context(), string(room), rooms.MemberRequest{Sender: dave}); err != nil {
			t.Fatal(err)
		}
		a.wants("join dave")
		b.wants("join dave")
		// One of two has gone by itself; the other one is told to go.
		w.plant(room, b.user("beth"), "leave", nil)
		if err := w.rooms().Kick(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: b.user("bert")}); err != nil {
			t.Fatal(err)
		}
		w.say(room, "to a again")
		w.say(other, "elsewhere")
		a.wants("leave bert", "to a again", "elsewhere")
		b.wants("leave bert", "elsewhere")
		// Who is invited hears of that otherwise, and that the invitation is taken back from here.
		c := w.peer()
		if err := w.rooms().Invite(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: c.user("carl")}); err != nil {
			t.Fatal(err)
		}
		w.say(room, "not to c")
		if err := w.rooms().Ban(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: c.user("carl")}); err != nil {
			t.Fatal(err)
		}
		a.wants("invite carl", "not to c", "ban carl")
		c.wants("ban carl")
		if err := w.rooms().Ban(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: c.user("stranger")}); err != nil {
			t.Fatal(err)
		}
		w.plant(other, c.user("carl"), "join", nil)
		w.say(other, "to c")
		c.wants("to c")
	})
}

// What nobody elsewhere has to hear of is not stored, and costs no questions.
func TestLocalRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		room := w.room()
		w.caughtUp()
		before := w.asked.Load()
		w.sayMany(room, 300)
		w.caughtUp()
		if asked := w.asked.Load() - before; asked > 1 {
			t.Errorf("300 messages ask %d times who is in their room", asked)
		}
		for i := range 20 {
			if _, err := w.rooms().Join(t.Context(), string(room), rooms.MemberRequest{Sender: matrix.NewUserID("user"+strconv.Itoa(i), here)}); err != nil {
				t.Fatal(err)
			}
		}
		w.caughtUp()
		if list, err := w.store.Outbox.Destinations(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("%+v wait, %v", list, err)
		}
		// The place is noted at the end, and with what goes somewhere.
		w.restart()
		if at, err := w.store.Outbox.Begin(t.Context(), 0); err != nil || at != w.stream.Position() {
			t.Errorf("it goes on from %d, not %d: %v", at, w.stream.Position(), err)
		}
		w.plant(room, p.user("anne"), "join", nil)
		w.say(room, "hello")
		p.wants("hello")
		if at, err := w.store.Outbox.Begin(t.Context(), 0); err != nil || at != w.stream.Position() {
			t.Errorf("it has come to %d, not %d: %v", at, w.stream.Position(), err)
		}
	})
}

// What was said before this server sent to others at all is not sent.
func TestTheFirstStart(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		w.stop()
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		w.say(room, "before")
		if err := w.store.DB.Update(t.Context(), func(tx *database.Tx) error { _, err := tx.Exec(t.Context(), forgetProgress); return err }); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.say(room, "after")
		p.wants("after")
		w.settled()
		w.stop()
		w.say(room, "meanwhile")
		w.start()
		p.wants("meanwhile")
	})
}

var forgetProgress = database.SQL(`
	DELETE FROM outbox_progress`)

// What came from elsewhere is passed on only if that is said, and what others pass on is not sent twice.
func TestRelayedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		a, b := w.peer(), w.peer()
		room := w.room()
		relay := func(tx *database.Tx, nid int64) error { return w.store.Outbox.Relay(t.Context(), tx, nid) }
		w.plant(room, a.user("anne"), "join", relay)
		w.plant(room, b.user("bert"), "join", relay)
		w.plant(room, b.user("beth"), "join", nil)
		w.say(room, "hello")
		a.wants("join bert", "hello")
		b.wants("hello")
		// It holds after a restart.
		w.settled()
		w.stop()
		w.plant(room, a.user("andy"), "join", relay)
		withheld := w.plant(room, "@eve:here.example", "join", func(tx *database.Tx, nid int64) error {
			return w.store.Outbox.Withhold(t.Context(), tx, nid)
		})
		w.plant(room, "@fred:here.example", "join", nil)
		w.restart()
		w.say(room, "again")
		a.wants("join fred", "again")
		b.wants("join andy", "join fred", "again")
		if _, noted := w.store.Outbox.Relayed(withheld.NID); noted {
			t.Error("it is noted for ever")
		}
		w.restart()
		if _, noted := w.store.Outbox.Relayed(withheld.NID); noted {
			t.Error("it is stored for ever")
		}
	})
}

// History that was imported is no part of what other servers could check.
func TestImportedEventsStayHere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		for i, req := range []rooms.ImportRequest{{}, {Forward: true}, {Forward: true, Notify: true}} {
			req.Room, req.By, req.Ghost = room, alice, func(matrix.UserID) bool { return true }
			req.Events = []rooms.ImportedEvent{{
				Sender: alice, Type: "m.room.message", Content: json.RawMessage(fmt.Sprintf(`{"body":"old %d","msgtype":"m.text"}`, i)), Timestamp: 1000,
			}}
			if _, err := w.rooms().Import(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		w.say(room, "new")
		p.wants("new")
	})
}

// Who is in which room is the same by many small steps as when it is looked up at once.
func TestOthersStepByStep(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		w.stop()
		room := w.room()
		info, err := w.rooms().Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		var known *rooms.Others
		at := map[int64][]matrix.ServerName{}
		look := func(root int64) {
			t.Helper()
			fresh, err := w.rooms().Others(t.Context(), info.NID, root, nil)
			if err != nil {
				t.Fatal(err)
			}
			if known, err = w.rooms().Others(t.Context(), info.NID, root, known); err != nil || !slices.Equal(known.Servers(), fresh.Servers()) || known.Root() != root {
				t.Fatalf("%v and %v, %v", known.Servers(), fresh.Servers(), err)
			}
			at[root] = fresh.Servers()
		}
		wants := func(want ...matrix.ServerName) {
			t.Helper()
			now, err := w.rooms().Head(t.Context(), info.NID)
			if err != nil {
				t.Fatal(err)
			}
			if look(now.Root()); !slices.Equal(known.Servers(), want) {
				t.Errorf("there are %v, not %v", known.Servers(), want)
			}
		}
		wants()
		w.plant(room, "@a:one.example", "invite", nil)
		wants()
		w.plant(room, "@a:one.example", "join", nil)
		wants("one.example")
		w.plant(room, "@b:one.example", "join", nil)
		w.plant(room, "@c:two.example", "join", nil)
		wants("one.example", "two.example")
		w.plant(room, "@a:one.example", "leave", nil)
		w.plant(room, "@d:here.example", "join", nil)
		wants("one.example", "two.example")
		w.plant(room, "@b:one.example", "ban", nil)
		w.plant(room, "@x", "join", nil)
		wants("two.example")
		w.plant(room, "@c:two.example", "join", nil) // another name
		wants("two.example")
		w.plant(room, "@c:two.example", "leave", nil)
		wants()
		for root, servers := range at { // back and forth
			if look(root); !slices.Equal(known.Servers(), servers) {
				t.Errorf("%v, not %v", known.Servers(), servers)
			}
		}
	})
}

// What was deleted here is not sent any more, and holds up nothing.
func TestDeletedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		p.set(answers(502, `gone`))
		w.say(room, "first")
		first := p.next()
		for i := range 60 {
			w.say(room, strconv.Itoa(i))
		}
		last := w.say(room, "last")
		w.caughtUp()
		info, err := w.rooms().Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		e, err := w.store.Events.ByID(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Deletions.Purge(t.Context(), storage.Purge{NID: info.NID, Before: e.Ordering, Local: true, Server: here}); err != nil {
			t.Fatal(err)
		}
		p.set(nil)
		w.client.Heard(p.name)
		p.wants("last")
		w.settled()
		if len(p.got) > 0 {
			t.Errorf("%+v is sent as well as %+v", <-p.got, first)
		}
	})
}

// A server with which this one has nothing to do any more is sent nothing, and nothing is kept for it.
func TestServersThatAreDenied(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, func(o *outbox.Options) { o.AtOnce = 1 })
		a, b := w.peer(), w.peer()
		room := w.room()
		w.plant(room, a.user("anne"), "join", nil)
		w.plant(room, b.user("bert"), "join", nil)
		a.set(answers(502, `gone`))
		w.say(room, "first")
		a.wants("first")
		b.wants("first")
		w.denied.Store(&a.name)
		w.say(room, "second")
		b.wants("second")
		if n := w.waiting(a); n != 1 {
			t.Errorf("%d events wait for a server that is not allowed", n)
		}
		w.client.Heard(a.name)
		until(t, "nothing waits", func() bool { return w.waiting(a) == 0 })
		w.denied.Store(nil)
		a.set(nil)
		w.client.Heard(a.name)
		w.say(room, "third")
		a.wants("third")
	})
}

// A room of which nothing can be read holds up no other for ever.
func TestRoomsThatAreBroken(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		broken, room := w.room(), w.room()
		w.plant(broken, p.user("anne"), "join", nil)
		w.plant(room, p.user("anne"), "join", nil)
		w.caughtUp()
		info, err := w.rooms().Info(t.Context(), broken)
		if err != nil {
			t.Fatal(err)
		}
		w.broken.Store(info.NID)
		w.say(broken, "lost")
		w.say(room, "hello")
		p.wants("hello")
	})
}
