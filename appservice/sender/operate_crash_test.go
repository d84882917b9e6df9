package sender_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// buried is a store that dies, and remembers which transactions were to become
// dead letters, whether they did or not.
type buried struct {
	*dying
	skipped map[int64]bool
	passed  *int64 // events up to here may have been skipped without a letter
}

func (b buried) Pause(ctx context.Context, p appservice.Pause) error {
	return b.write(func() error { return b.Store.Pause(context.WithoutCancel(ctx), p) })
}

func (b buried) Resume(ctx context.Context, service string) error {
	return b.write(func() error { return b.Store.Resume(context.WithoutCancel(ctx), service) })
}

func (b buried) Bury(ctx context.Context, number int64, l appservice.DeadLetter) (letter int64, err error) {
	err = b.write(func() (err error) {
		b.skipped[number] = true
		letter, err = b.Store.Bury(ctx, number, l)
		return err
	})
	return letter, err
}

func (b buried) BuryAll(ctx context.Context, acked, upTo int64, l appservice.DeadLetter) (transactions, events int, err error) {
	err = b.write(func() error {
		waiting, err := b.Store.Waiting(ctx, l.Service, acked)
		if err != nil {
			return err
		}
		for _, f := range waiting {
			b.skipped[f.Number] = true
		}
		*b.passed = max(*b.passed, upTo)
		transactions, events, err = b.Store.BuryAll(ctx, acked, upTo, l)
		return err
	})
	return transactions, events, err
}

func (b buried) LetterFailed(ctx context.Context, number int64, problem string, at int64) error {
	return b.write(func() error { return b.Store.LetterFailed(ctx, number, problem, at) })
}

func (b buried) RemoveLetter(ctx context.Context, number int64) (there bool, err error) {
	err = b.write(func() (err error) {
		there, err = b.Store.RemoveLetter(ctx, number)
		return err
	})
	return there, err
}

// A ledger is which transactions a service has taken, in order.
type ledger struct {
	mu    sync.Mutex
	taken []string
}

func (l *ledger) take(a testkit.Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.taken, a.TxnID) {
		l.taken = append(l.taken, a.TxnID)
	}
}

// meddle does one thing at random that operators do, and says what it did.
func meddle(ctx context.Context, s *sender.Service) string {
	switch rand.N(9) {
	case 0:
		_ = s.Pause(ctx, "irc", "")
	case 1, 2:
		_ = s.Resume(ctx, "irc")
	case 3, 4, 5:
		head, err := s.Frozen(ctx, "irc")
		if err == nil && s.Skip(ctx, "irc", head.ID, "", "me") == nil {
			return "skip"
		}
	case 6:
		if _, err := s.SkipAll(ctx, "irc", "", "me"); err == nil {
			return "skip all"
		}
	case 7:
		letters, err := s.DeadLetters(ctx, "irc", 0, 100)
		if err == nil && len(letters) > 0 && s.Replay(ctx, letters[rand.N(len(letters))].Number) == nil {
			return "replay"
		}
	default:
		s.Retry("irc")
	}
	return ""
}

// Whatever operators do while everything dies: each event is in one transaction,
// which is delivered or a dead letter, or was skipped with all that waited; what
// nobody touched comes in order.
func meddling(t *testing.T, store sender.Store, incarnations int) {
	w := newWorld()
	as, reg := fake(t, "irc")
	var book ledger
	as.Answer = func(a testkit.Attempt) int {
		switch rand.N(4) {
		case 0:
			return http.StatusInternalServerError
		case 1:
			return testkit.Drop
		}
		book.take(a)
		return http.StatusOK
	}
	regs, skipped, passed, did := registry(t, reg), map[int64]bool{}, new(int64), map[string]int{}
	run := func(left int, during func(d *dying, s *sender.Service)) {
		d := &dying{Store: store, left: left, dead: make(chan struct{}), noise: func() bool { return left < 1<<30 && rand.N(40) == 0 }}
		s := start(t, w, sender.Options{Registry: regs, Store: buried{d, skipped, passed}, MaxEvents: 7})
		during(d, s)
		closeNow(s)
	}
	run(1<<30, func(*dying, *sender.Service) {}) // the cursor begins at the beginning
	for range incarnations {
		run(5+rand.N(60), func(d *dying, s *sender.Service) {
			for d.alive() {
				w.live(rand.N(20))
				did[meddle(t.Context(), s)]++
			}
		})
	}
	run(1<<30, func(_ *dying, s *sender.Service) { settle(t, w, s) })
	if did["skip"] == 0 || did["skip all"] == 0 {
		t.Errorf("the operators did %v", did)
	}
	check(t, w.expected(regs.Load(), "irc"), as, book.taken, skipped, *passed)
}

// settle delivers everything that waits, and then the dead letters.
func settle(t *testing.T, w *world, s *sender.Service) {
	t.Helper()
	if err := s.Resume(t.Context(), "irc"); err != nil {
		t.Fatal(err)
	}
	until(t, s, "nothing waits", func(st sender.Status) bool { return st.Backlog() == 0 && st.Behind == 0 && st.Live })
	letters, err := s.DeadLetters(t.Context(), "irc", 0, 1000)
	if err != nil || len(letters) != s.Status()[0].DeadLetters {
		t.Fatalf("%d letters, %v; %+v", len(letters), err, s.Status()[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, l := range letters {
		for err := s.Replay(ctx, l.Number); err != nil; err = s.Replay(ctx, l.Number) {
			if ctx.Err() != nil {
				t.Fatalf("letter %d: %v", l.Number, err)
			}
		}
	}
	if st := s.Status()[0]; st.DeadLetters != 0 {
		t.Errorf("%+v", st)
	}
}

func check(t *testing.T, want []string, as *testkit.FakeAS, taken []string, skipped map[int64]bool, passed int64) {
	t.Helper()
	position := func(id string) int {
		n, _ := strconv.Atoi(id[1:])
		return n
	}
	as.Until(t, len(slices.DeleteFunc(slices.Clone(want), func(id string) bool { return position(id) <= int(passed) }))) // each repeat had the same bytes
	got := eventIDs(t, as.Events())
	slices.SortFunc(got, func(a, b string) int { return position(a) - position(b) })
	want = slices.DeleteFunc(want, func(id string) bool { return position(id) <= int(passed) && !slices.Contains(got, id) })
	if !slices.Equal(got, want) {
		t.Errorf("%d events came, want %d; %s", len(got), len(want), difference(got, want))
	}
	for _, a := range as.Attempts() {
		if !slices.Contains(taken, a.TxnID) {
			t.Errorf("transaction %s is neither delivered nor a letter", a.TxnID)
		}
	}
	newest := int64(0)
	for _, id := range taken {
		_, digits, _ := strings.Cut(id, "-")
		number, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if skipped[number] {
			continue
		}
		if number < newest {
			t.Errorf("transaction %d came after %d", number, newest)
		}
		newest = number
	}
}

func TestOperatorsMeddleInMemory(t *testing.T) { meddling(t, newMemory(), 20) }

func TestOperatorsMeddleOnDatabases(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(context.Background(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		meddling(t, storage.NewAppServices(db), 6)
	})
}
