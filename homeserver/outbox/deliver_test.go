package outbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"trestle/homeserver/outbox"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func numbers(from, to int) (list []string) {
	for i := range to - from {
		list = append(list, strconv.Itoa(from+i))
	}
	return list
}

// Events come in order, at most fifty at once, each once.
func TestEventsComeInOrder(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		w.sayMany(room, 333)
		p.wants(numbers(0, 333)...)
		w.settled()
		if len(p.got) > 0 {
			t.Errorf("%q is sent twice", (<-p.got).said)
		}
	})
}

// A transaction that was not taken is sent again as it was, also after a restart, whatever has come meanwhile.
func TestTransactionsAreRepeated(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		refused := make(chan struct{})
		p.set(func(w http.ResponseWriter, r *http.Request) {
			<-refused
			answers(500, `{"errcode":"M_UNKNOWN","error":"Not now"}`)(w, r)
		})
		w.say(room, "one")
		first := p.next()
		w.say(room, "two")
		w.caughtUp()
		close(refused)
		for range 3 {
			if again := p.next(); again.id != first.id || again.body != first.body {
				t.Errorf("%+v, and then %+v", first, again)
			}
		}
		// The server takes it, but nobody hears of that.
		taken, cancel := context.WithCancel(t.Context())
		p.set(func(_ http.ResponseWriter, r *http.Request) { cancel(); hangs(nil, r) })
		<-taken.Done()
		w.stop()
		for len(p.got) > 0 {
			<-p.got
		}
		w.say(room, "three")
		p.set(answers(502, `<h1>Bad gateway</h1>`))
		w.restart()
		w.givenTime(p)
		if again := p.next(); again.id != first.id || again.body != first.body {
			t.Errorf("%+v, and after a restart %+v", first, again)
		}
		p.set(nil)
		w.client.Heard(p.name)
		w.settled()
		if again := p.next(); again.body != first.body {
			t.Errorf("%+v, and then %+v", first, again)
		}
		p.wants("two", "three")
		if len(p.got) > 0 {
			t.Errorf("%+v is sent as well", <-p.got)
		}
	})
}

// Servers that do not answer hold up those among themselves, and nobody else.
func TestSlowServersHoldUpNobody(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, func(o *outbox.Options) { o.AtOnce = 2 })
		var slow []*peer
		room := w.room()
		quick := w.peer()
		w.plant(room, quick.user("anne"), "join", nil)
		for range 3 {
			p := w.peer()
			slow = append(slow, p)
			p.set(answers(500, `{"errcode":"M_UNKNOWN","error":"Not now"}`))
			w.plant(room, p.user("bert"), "join", nil)
		}
		w.say(room, "one")
		quick.wants("one")
		for _, p := range slow {
			p.next()
			p.set(hangs)
		}
		for i := range 20 {
			w.say(room, strconv.Itoa(i))
			quick.wants(strconv.Itoa(i))
		}
	})
}

// Of what waits for a server that is away for long, the newest event of each room is left.
func TestServersThatAreAwayForLong(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p, other := w.peer(), w.peer()
		busy, quiet := w.room(), w.room()
		w.plant(busy, p.user("anne"), "join", nil)
		w.plant(busy, other.user("bert"), "join", nil)
		w.plant(quiet, p.user("anne"), "join", nil)
		p.set(answers(502, `<h1>Bad gateway</h1>`))
		w.say(busy, "first")
		first := p.next()
		w.say(quiet, "lost")
		w.say(quiet, "quiet")
		w.sayMany(busy, 900)
		w.caughtUp()
		if n := w.waiting(p); n != 903 {
			t.Errorf("%d events wait, not 903", n)
		}
		w.sayMany(busy, 200)
		w.caughtUp()
		until(t, "few events wait", func() bool { return w.waiting(p) < 903 })
		until(t, "the other server has all", func() bool { return w.waiting(other) == 0 })
		w.say(busy, "last")
		w.caughtUp()
		for len(p.got) > 0 {
			if again := <-p.got; again.body != first.body {
				t.Errorf("%+v, and then %+v", first, again)
			}
		}
		p.set(nil)
		w.client.Heard(p.name)
		w.settled()
		var said []string
		for len(p.got) > 0 {
			said = append(said, (<-p.got).said...)
		}
		if len(said) > 200 || said[0] != "first" || said[1] != "quiet" || said[len(said)-1] != "last" || !slices.Contains(said, "199") {
			t.Errorf("%d events: %q", len(said), said)
		}
	})
}

// What a server calls no good, again and again, is given up for what comes behind it.
func TestTransactionsThatAreNoGood(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, nil)
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		p.set(answers(400, `{"errcode":"M_BAD_JSON","error":"No"}`))
		w.say(room, "poison")
		for range 4 {
			p.wants("poison")
		}
		w.say(room, "good")
		w.caughtUp()
		p.wants("poison")
		p.set(nil)
		w.settled()
		for got := ""; got != "good"; {
			if got = p.next().said[0]; got == "poison" {
				t.Error("it is sent for a sixth time")
			}
		}
		// What else a server says is no reason.
		p.set(answers(403, `{"errcode":"M_FORBIDDEN","error":"No"}`))
		w.say(room, "patience")
		for range 7 {
			p.wants("patience")
		}
		// What it says of events is its own business.
		for _, answer := range []string{`{"pdus":{"$x":{"error":"No"},"$y":{}}}`, `{"pdus":{"$x":{"error":7},"$y":[]}}`, `{"pdus":[]}`, `[]`} {
			p.set(answers(200, answer))
			w.settled()
			w.say(room, answer)
		}
	})
}

// Who speaks and cannot be reached is not tried again for each word.
func TestServersThatSpeakAndDoNotHear(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url, func(o *outbox.Options) { o.FirstPause = time.Minute })
		p := w.peer()
		room := w.room()
		w.plant(room, p.user("anne"), "join", nil)
		p.set(answers(502, `<h1>Bad gateway</h1>`))
		w.say(room, "hello")
		for range 20 {
			w.givenTime(p)
			w.client.Heard(p.name)
			for range 2 { // then the desk has seen it
				w.sends.Servers(t.Context())
			}
		}
		w.givenTime(p)
		if n := len(p.got); n != 2 {
			t.Errorf("it is tried %d times", n)
		}
	})
}

// Whatever happens, each server gets everything, in order; and what has the same ID is the same.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, testkit.EitherDatabase(t, seed), nil)
			random := rand.New(rand.NewPCG(seed, 0))
			peers, wanted := []*peer{w.peer(), w.peer(), w.peer()}, make([][]string, 3)
			rooms := []matrix.RoomID{w.room(), w.room(), w.room()} // in the first there is one server, in the last all
			for i, room := range rooms {
				for _, p := range peers[:i+1] {
					w.plant(room, p.user("somebody"), "join", nil)
				}
			}
			for i := range 150 {
				switch p := peers[random.IntN(3)]; random.IntN(10) {
				case 0:
					p.set(nil)
				case 1:
					p.set(answers(500, `{"errcode":"M_UNKNOWN","error":"Not now"}`))
				case 2:
					p.set(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) // it may have taken it
				case 3:
					p.set(hangs)
				case 4:
					if random.IntN(3) == 0 {
						w.restart()
					}
				default:
					n := random.IntN(3)
					w.say(rooms[n], strconv.Itoa(i))
					for k := range n + 1 {
						wanted[k] = append(wanted[k], strconv.Itoa(i))
					}
				}
			}
			for _, p := range peers {
				p.set(nil)
			}
			w.restart()
			w.settled()
			for i, p := range peers {
				bodies := map[string]string{}
				var got []string
				for len(p.got) > 0 {
					txn := <-p.got
					if body, again := bodies[txn.id]; again {
						if body != txn.body {
							t.Errorf("%s is %s, and then %s", txn.id, body, txn.body)
						}
						continue
					}
					bodies[txn.id] = txn.body
					got = append(got, txn.said...)
				}
				if !slices.Equal(got, wanted[i]) {
					t.Errorf("server %d got %q, not %q", i, got, wanted[i])
				}
			}
		})
	}
}
