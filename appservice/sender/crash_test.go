package sender_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A dying store does some writes, and then none: the last one is done or not,
// and who asked for it does not learn which.
type dying struct {
	sender.Store
	mu    sync.Mutex
	left  int
	dead  chan struct{}
	noise func() bool // whether to fail without dying
}

var errDead = errors.New("the power went out")

// write runs a write unless the store is dead.
func (d *dying) write(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.dead:
		return errDead
	default:
	}
	if d.left--; d.left > 0 {
		if !d.noise() {
			return do()
		}
		if rand.N(2) == 0 {
			_ = do()
		}
		return errors.New("a hiccup")
	}
	if rand.N(2) == 0 {
		_ = do()
	}
	close(d.dead)
	return errDead
}

// alive looks after a while, or when the end comes.
func (d *dying) alive() bool {
	select {
	case <-d.dead:
		return false
	case <-time.After(rand.N(4 * time.Millisecond)):
		return true
	}
}

func (d *dying) Freeze(ctx context.Context, f []appservice.Frozen, acked int64) error {
	return d.write(func() error { return d.Store.Freeze(context.WithoutCancel(ctx), f, acked) })
}

func (d *dying) Acknowledge(ctx context.Context, service string, acked int64) error {
	return d.write(func() error { return d.Store.Acknowledge(context.WithoutCancel(ctx), service, acked) })
}

func (d *dying) Advance(ctx context.Context, cursors []appservice.Cursor) error {
	return d.write(func() error { return d.Store.Advance(context.WithoutCancel(ctx), cursors) })
}

// live makes n things happen at random among people, ghosts and bots.
func (w *world) live(n int) {
	rooms := []matrix.RoomID{"!a:" + server, "!b:" + server, "!c:" + server, "!d:" + server}
	users := []matrix.UserID{
		"@alice:" + server, "@bob:elsewhere.example", "@irc_x:" + server, "@irc_y:" + server,
		"@ircbot:" + server, "@mail_x:" + server, "@mail_y:elsewhere.example",
	}
	for range n {
		room, user, other := rooms[rand.N(len(rooms))], users[rand.N(len(users))], users[rand.N(len(users))]
		switch rand.N(12) {
		case 0:
			w.member(room, user, user, "join")
		case 1:
			w.member(room, user, user, "leave")
		case 2:
			w.member(room, user, other, []string{"invite", "ban", "leave", "knock"}[rand.N(4)])
		case 3:
			w.skip(int64(rand.N(50)))
		default:
			w.say(room, user)
		}
	}
}

// Whatever dies when, a service gets exactly the stream, and each repeat of a
// transaction has the same bytes.
func crashes(t *testing.T, store sender.Store, incarnations, events int) {
	w := newWorld()
	irc, ircReg := fake(t, "irc")
	mail, mailReg := fake(t, "mail")
	for _, as := range []*testkit.FakeAS{irc, mail} {
		as.Answer = func(testkit.Attempt) int {
			switch rand.N(8) {
			case 0:
				return http.StatusInternalServerError
			case 1:
				return testkit.Drop
			}
			return http.StatusOK
		}
	}
	regs := registry(t, ircReg, mailReg)
	run := func(left int, during func(d *dying)) {
		d := &dying{Store: store, left: left, dead: make(chan struct{}), noise: func() bool { return left < 1<<30 && rand.N(20) == 0 }}
		s := start(t, w, sender.Options{Registry: regs, Store: d, MaxEvents: 7})
		during(d)
		closeNow(s)
	}
	run(1<<30, func(*dying) {}) // the cursors begin at the beginning
	for range incarnations {
		run(1+rand.N(30), func(d *dying) {
			for d.alive() {
				w.live(rand.N(events))
			}
		})
	}
	run(1<<30, func(*dying) {
		w.live(events)
		irc.Until(t, len(w.expected(regs.Load(), "irc")))
		mail.Until(t, len(w.expected(regs.Load(), "mail")))
	})
	for id, as := range map[string]*testkit.FakeAS{"irc": irc, "mail": mail} {
		want, got := w.expected(regs.Load(), id), eventIDs(t, as.Events())
		if !slices.Equal(got, want) {
			t.Errorf("%s got %d events, want %d; %s", id, len(got), len(want), difference(got, want))
		}
	}
}

func difference(got, want []string) string {
	for i := range want {
		if i == len(got) || got[i] != want[i] {
			return fmt.Sprintf("from the %dth: %v, want %v", i, got[i:min(i+5, len(got))], want[i:min(i+5, len(want))])
		}
	}
	return "too many"
}

func TestCrashesInMemory(t *testing.T) { crashes(t, newMemory(), 50, 60) }

func TestCrashesOnDatabases(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(context.Background(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		crashes(t, storage.NewAppServices(db), 20, 40)
	})
}
