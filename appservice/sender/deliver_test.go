package sender_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

const room = matrix.RoomID("!r:" + server)

func TestBacklogGoesOutInFullBatches(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	up := make(chan struct{})
	as.Answer = func(testkit.Attempt) int {
		select {
		case <-up:
			return http.StatusOK
		default:
			return http.StatusServiceUnavailable
		}
	}
	s := start(t, w, sender.Options{Registry: registry(t, reg)})
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	as.UntilAttempt(t, 3)
	for range 2999 {
		w.say(room, "@alice:"+server)
	}
	close(up)
	as.Until(t, 3000)
	if n := len(as.Transactions()); n > 34 {
		t.Errorf("3,000 events took %d transactions", n)
	}
	if got, want := eventIDs(t, as.Events()), w.expected(registry(t, reg).Load(), "irc"); !slices.Equal(got, want) {
		t.Fatal(difference(got, want))
	}
	if st := s.Status()[0]; st.Events != 3000 || st.Failures < 3 || st.LastError == "" || st.Rate == 0 {
		t.Errorf("status %+v", st)
	}
}

func TestSlowServiceDelaysNobody(t *testing.T) {
	w := newWorld()
	slow, slowReg := fake(t, "slow")
	irc, ircReg := fake(t, "irc")
	release := make(chan struct{})
	slow.Answer = func(testkit.Attempt) int { <-release; return http.StatusOK }
	s := start(t, w, sender.Options{Registry: registry(t, slowReg, ircReg)})
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	w.member(room, "@slow_x:"+server, "@slow_x:"+server, "join")
	slow.UntilAttempt(t, 1)
	const n = 5000
	for range n {
		w.say(room, "@alice:"+server)
	}
	irc.Until(t, n+2)
	st := s.Status()
	if st[0].Live || st[0].Attempts != 0 || st[0].Behind < n/2 || st[0].Backlog() != n+1 || st[0].Backlog()-st[0].Unread > 2000 || st[0].Oldest.IsZero() {
		t.Errorf("the slow one is not behind with a bounded queue: %+v", st[0])
	}
	if !st[1].Live || st[1].Behind != 0 || st[1].Backlog() > 100 {
		t.Errorf("the quick one does not keep up: %+v", st[1])
	}
	close(release)
	slow.Until(t, n+1)
	w.say(room, "@alice:"+server) // live again
	slow.Until(t, n+2)
}

// A service that is now quick, now slow falls behind and catches up many times,
// and notices nothing.
func TestFallingBehindAndCatchingUp(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	regs := registry(t, reg)
	as.Answer = func(a testkit.Attempt) int {
		if a.Number%5 == 0 {
			time.Sleep(rand.N(5 * time.Millisecond))
		}
		return http.StatusOK
	}
	s := start(t, w, sender.Options{Registry: regs, MaxEvents: 20})
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	behind := 0
	for i := range 30_000 {
		w.say(room, "@alice:"+server)
		if i%97 == 0 {
			runtime.Gosched()
		}
		if i%1000 == 0 && !s.Status()[0].Live {
			behind++
		}
		if i%3000 == 0 {
			as.Until(t, i)
		}
	}
	as.Until(t, 30_001)
	if got, want := eventIDs(t, as.Events()), ids(1, 30_001); !slices.Equal(got, want) {
		t.Error(difference(got, want))
	}
	if behind == 0 {
		t.Error("it never fell behind")
	}
}

func ids(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("$%d", i))
	}
	return list
}

func TestNewServiceSeesWhatIsNew(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	regs := registry(t)
	s := start(t, w, sender.Options{Registry: regs})
	w.say(room, "@irc_x:"+server)
	regs.Store(registry(t, reg).Load())
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := w.say(room, "@irc_x:"+server)
	as.Until(t, 1)
	if got := eventIDs(t, as.Events()); len(got) != 1 || got[0] != fmt.Sprintf("$%d", second) {
		t.Errorf("got %v, want $%d alone", got, second)
	}
}

func TestServiceThatComesBackGoesOn(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	regs := registry(t, reg)
	s := start(t, w, sender.Options{Registry: regs})
	for range 2 {
		w.say(room, "@irc_x:"+server)
		regs.Store(registry(t).Load())
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.Status()) != 0 {
			t.Error("there is still a queue")
		}
		w.say(room, "@irc_x:"+server)
		regs.Store(registry(t, reg).Load())
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	as.Until(t, 4)
	if got, want := eventIDs(t, as.Events()), w.expected(regs.Load(), "irc"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUninterestingPositionsCostNoWrites(t *testing.T) {
	w := newWorld()
	store := newMemory()
	as, reg := fake(t, "irc")
	_, quiet := fake(t, "quiet")
	regs := registry(t, reg, quiet)
	s := start(t, w, sender.Options{Registry: regs, Store: store})
	for range 30_000 {
		w.say(room, "@alice:"+server)
	}
	last := w.say(room, "@irc_x:"+server)
	as.Until(t, 1)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if store.writes > 10 {
		t.Errorf("%d writes", store.writes)
	}
	for _, id := range []string{"irc", "quiet"} {
		if c := store.cursor(id); c.Position != last {
			t.Errorf("%s stopped at %d, and begins at %d", id, last, c.Position)
		}
	}
	if waiting, _ := store.Waiting(t.Context(), "irc", 0); len(waiting) > 0 {
		t.Error("a delivered transaction is left in storage")
	}
	loads := w.loads
	start(t, w, sender.Options{Registry: regs, Store: store})
	w.say(room, "@irc_x:"+server)
	as.Until(t, 2)
	if w.loads != loads+1 {
		t.Errorf("after the start %d rooms were loaded for one event", w.loads-loads)
	}
}

func TestCloseLetsTheServiceAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusOK, took: 3 * time.Second}
		w, s, _ := startStub(t, as)
		w.say(room, "@irc_x:"+server)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		if err := s.Close(ctx); err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("closed after %v, %v", time.Since(begin), err)
		}
		if st := s.Status()[0]; st.Events != 1 {
			t.Errorf("the answer did not count: %+v", st)
		}
	})
}

func TestTransactionIDsDifferBetweenDatabases(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		store := newMemory()
		w := newWorld()
		as, reg := fake(t, "irc")
		start(t, w, sender.Options{Registry: registry(t, reg), Store: store})
		w.say(room, "@irc_x:"+server)
		as.Until(t, 1)
		seen[as.Attempts()[0].TxnID] = true
	}
	if len(seen) != 3 {
		t.Errorf("three homeservers used the transaction IDs %v", seen)
	}
}

// A service drops what has an ID that it knows. When a backup is put back, what comes
// then must have others than what came after the backup was made.
func TestBackupsRepeatNoTransactionIDs(t *testing.T) {
	store, w := newMemory(), newWorld()
	as, reg := fake(t, "irc")
	opts := sender.Options{Registry: registry(t, reg), Store: store}
	s := start(t, w, opts)
	say := func(user matrix.UserID) {
		taken := len(as.Events()) // before it may be there
		w.say(room, user)
		as.Until(t, taken+1)
	}
	say("@irc_x:" + server)
	closeNow(s)
	backup, position := store.copied(), w.head
	s = start(t, w, opts)
	for range 3 {
		say("@irc_x:" + server)
	}
	closeNow(s)
	w.changes, w.head = w.changes[:position], position
	opts.Store = backup
	start(t, w, opts)
	for range 5 {
		say("@irc_y:" + server) // or the service finds fault with the bytes
	}
}

// A store that fails to begin makes the start fail, rather than lose events.
type closed struct{ sender.Store }

func (closed) Begin(context.Context, appservice.Cursor) (appservice.Cursor, error) {
	return appservice.Cursor{}, errDead
}

func TestStartFailsWithoutStorage(t *testing.T) {
	w := newWorld()
	s := sender.New(sender.Options{Registry: registry(t, service(t, "irc", "http://stub")), Store: closed{}, Stream: w, Rooms: w})
	if err := s.Start(t.Context()); !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	closeNow(s)
}
