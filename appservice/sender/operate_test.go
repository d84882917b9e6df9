package sender_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/registration"
)

// toll is a gate that a fake service asks what to answer.
func toll(as *testkit.FakeAS, status int) (open func()) {
	up := make(chan struct{})
	as.Answer = func(testkit.Attempt) int {
		select {
		case <-up:
			return http.StatusOK
		default:
			return status
		}
	}
	return func() { close(up) }
}

func refused(t *testing.T, err error, code string) {
	t.Helper()
	if matrix.Code(err) != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func TestPauseOutlastsRestarts(t *testing.T) {
	w, store := newWorld(), newMemory()
	as, reg := fake(t, "irc")
	regs := registry(t, reg)
	s := start(t, w, sender.Options{Registry: regs, Store: store})
	w.member(room, "@irc_x:"+server, "@irc_x:"+server, "join")
	as.Until(t, 1)
	if err := s.Pause(t.Context(), "irc", "the network moves"); err != nil {
		t.Fatal(err)
	}
	closeNow(s)
	s = start(t, w, sender.Options{Registry: regs, Store: store})
	for range 5000 {
		w.say(room, "@alice:"+server)
	}
	if st := s.Status()[0]; !st.Paused || st.PausedReason != "the network moves" || st.PausedAt.IsZero() {
		t.Errorf("after a restart: %+v", st)
	}
	s.Retry("irc")
	if _, err := s.Ping(t.Context(), "irc", ""); matrix.Code(err) != "M_BAD_STATUS" {
		t.Errorf("a paused service is not asked: %v", err)
	}
	until(t, s, "it falls behind", func(st sender.Status) bool { return !st.Live && st.Queued > 0 })
	if st := s.Status()[0]; st.Backlog()-st.Unread > 2000 || st.Behind < 2500 {
		t.Errorf("what waits in memory has no bound: %+v", st)
	}
	if n := len(as.Events()); n != 1 {
		t.Errorf("it was sent %d events while it was paused", n)
	}
	if err := s.Resume(t.Context(), "irc"); err != nil {
		t.Fatal(err)
	}
	as.Until(t, 5001)
	if got := eventIDs(t, as.Events()); !slices.Equal(got, ids(1, 5001)) {
		t.Error(difference(got, ids(1, 5001)))
	}
	if st := s.Status()[0]; st.Paused || !st.PausedAt.IsZero() || st.PausedReason != "" {
		t.Errorf("after all: %+v", st)
	}
}

// until waits for the first service's status to be as it should.
func until(t *testing.T, s *sender.Service, what string, right func(sender.Status) bool) {
	t.Helper()
	untilOne(t, s, 0, what, right)
}

func untilOne(t *testing.T, s *sender.Service, i int, what string, right func(sender.Status) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !right(s.Status()[i]) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: in vain, %+v", what, s.Status()[i])
		}
	}
}

func TestSkipAndReplay(t *testing.T) {
	w, ctx := newWorld(), t.Context()
	as, reg := fake(t, "irc")
	open := toll(as, http.StatusTeapot)
	s := start(t, w, sender.Options{Registry: registry(t, reg), MaxEvents: 2})
	if _, err := s.Frozen(ctx, "irc"); matrix.Code(err) != "M_NOT_FOUND" {
		t.Errorf("the head of nothing: %v", err)
	}
	for range 5 {
		w.say(room, "@irc_x:"+server)
	}
	as.UntilAttempt(t, 2)
	head, err := s.Frozen(ctx, "irc")
	if err != nil || !strings.Contains(string(head.Body), `"event_id":"$1"`) {
		t.Fatalf("the head is %+v, %v", head, err)
	}
	refused(t, s.Skip(ctx, "irc", "another", "", "me"), "M_UNKNOWN")
	if err := s.Skip(ctx, "irc", head.ID, "it has a stone in it", "@root:"+server); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Skip(ctx, "irc", head.ID, "", "me"), "M_UNKNOWN")
	letters, err := s.DeadLetters(ctx, "irc", 0, 10)
	if err != nil || len(letters) != 1 || s.Status()[0].DeadLetters != 1 {
		t.Fatalf("%+v, %v; %+v", letters, err, s.Status())
	}
	l, err := s.DeadLetter(ctx, letters[0].Number)
	if err != nil || l.Transaction != head.ID || string(l.Body) != string(head.Body) || l.Events != head.Events || l.Size != len(l.Body) ||
		l.Reason != "it has a stone in it" || l.By != "@root:"+server || l.Attempts < 1 || !strings.Contains(l.LastError, "418") || letters[0].Body != nil {
		t.Errorf("%+v, %v", l, err)
	}
	refused(t, s.Replay(ctx, l.Number), "M_BAD_STATUS")
	if again, _ := s.DeadLetter(ctx, l.Number); again.Attempts != l.Attempts+1 {
		t.Errorf("%d attempts, then %d", l.Attempts, again.Attempts)
	}
	open()
	as.Until(t, 5) // what was sent in vain counts here
	until(t, s, "the rest is delivered", func(st sender.Status) bool { return st.Events == uint64(5-l.Events) && st.Backlog() == 0 })
	if err := s.Replay(ctx, l.Number); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Replay(ctx, l.Number), "M_NOT_FOUND")
	refused(t, s.Discard(ctx, l.Number), "M_NOT_FOUND")
	attempts := as.Attempts()
	if last := attempts[len(attempts)-1]; last.TxnID != head.ID || !last.Repeat {
		t.Errorf("the replay was %+v", last)
	}
	as.Until(t, 5) // and no repeat was different
	if st := s.Status()[0]; st.DeadLetters != 0 || st.Events != 5 {
		t.Errorf("%+v", st)
	}
}

func TestDiscard(t *testing.T) {
	w, ctx := newWorld(), t.Context()
	as, reg := fake(t, "irc")
	toll(as, testkit.Drop)
	regs := registry(t, reg)
	s := start(t, w, sender.Options{Registry: regs, MaxEvents: 1})
	w.say(room, "@irc_x:"+server)
	w.say(room, "@irc_x:"+server)
	for range 2 {
		until(t, s, "a transaction waits", func(st sender.Status) bool { return st.Frozen > 0 })
		head, err := s.Frozen(ctx, "irc")
		if err == nil {
			err = s.Skip(ctx, "irc", head.ID, "", "me")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	letters, _ := s.DeadLetters(ctx, "irc", 0, 1)
	rest, _ := s.DeadLetters(ctx, "irc", letters[0].Number, 10)
	if len(letters) != 1 || len(rest) != 1 {
		t.Fatalf("pages %+v and %+v", letters, rest)
	}
	if err := s.Discard(ctx, letters[0].Number); err != nil || s.Status()[0].DeadLetters != 1 {
		t.Errorf("%v, %+v", err, s.Status())
	}
	refused(t, s.Replay(ctx, rest[0].Number), "M_CONNECTION_FAILED")
	if err := s.Pause(ctx, "irc", ""); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Replay(ctx, rest[0].Number), "M_UNKNOWN")
	regs.Store(registry(t).Load())
	if err := s.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Replay(ctx, rest[0].Number), "M_NOT_FOUND")
	if letters, err := s.DeadLetters(ctx, "irc", 0, 10); err != nil || len(letters) != 1 {
		t.Errorf("the letters of one that is gone: %+v, %v", letters, err)
	}
	if err := s.Discard(ctx, rest[0].Number); err != nil {
		t.Error(err)
	}
}

func TestOperatorsAreRefused(t *testing.T) {
	silent := service(t, "silent", "")
	silent.URL = ""
	s := start(t, newWorld(), sender.Options{Registry: registry(t, silent, service(t, "irc", "http://stub"))})
	ctx := t.Context()
	for id, code := range map[string]string{"none": "M_NOT_FOUND", "silent": "M_URL_NOT_SET", "\x00": "M_NOT_FOUND"} {
		refused(t, s.Pause(ctx, id, ""), code)
		refused(t, s.Resume(ctx, id), code)
		refused(t, s.Skip(ctx, id, "x", "", ""), code)
		_, err := s.Frozen(ctx, id)
		refused(t, err, code)
	}
	for _, reason := range []string{strings.Repeat("x", 1001), "a\x00b", "\xff"} {
		refused(t, s.Pause(ctx, "irc", reason), "M_INVALID_PARAM")
		refused(t, s.Skip(ctx, "irc", "x", reason, ""), "M_INVALID_PARAM")
	}
}

// unsure is a store whose burying fails, done or not.
type unsure struct {
	sender.Store
	done bool
}

func (u unsure) Bury(ctx context.Context, number int64, l appservice.DeadLetter) (int64, error) {
	if u.done {
		_, _ = u.Store.Bury(ctx, number, l)
	}
	return 0, errDead
}

// When nobody knows whether a transaction was skipped, storage is asked before
// anything is sent.
func TestSkippedOrNot(t *testing.T) {
	for _, done := range []bool{true, false} {
		w := newWorld()
		as, reg := fake(t, "irc")
		open := toll(as, http.StatusTeapot)
		s := start(t, w, sender.Options{Registry: registry(t, reg), Store: unsure{newMemory(), done}, BackoffMin: time.Hour, BackoffMax: time.Hour})
		w.say(room, "@irc_x:"+server)
		as.UntilAttempt(t, 1)
		w.say(room, "@irc_x:"+server)
		head, err := s.Frozen(t.Context(), "irc")
		if err != nil {
			t.Fatal(err)
		}
		open()
		if err := s.Skip(t.Context(), "irc", head.ID, "", "me"); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		s.Retry("irc")
		until(t, s, "all is delivered", func(st sender.Status) bool { return st.Live && st.Behind == 0 && st.Backlog() == 0 })
		sent := map[string]int{}
		for _, a := range as.Attempts() {
			sent[a.TxnID]++
		}
		want, letters := 2, 0
		if done {
			want, letters = 1, 1
		}
		if sent[head.ID] != want || len(sent) != 2 || s.Status()[0].DeadLetters != letters {
			t.Errorf("done %v: attempts %v; %+v", done, sent, s.Status()[0])
		}
	}
}

// A transaction that hangs can be skipped at once.
func TestSkipBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusOK, took: 50 * time.Second}
		w, s, _ := startStub(t, as)
		w.say(room, "@irc_x:"+server)
		synctest.Wait()
		w.say(room, "@irc_x:"+server)
		head, err := s.Frozen(t.Context(), "irc")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := s.Skip(t.Context(), "irc", head.ID, "", "me"); err != nil || time.Since(begin) > time.Second {
			t.Errorf("skipped after %v, %v", time.Since(begin), err)
		}
		synctest.Wait()
		if n := len(as.times()); n != 2 {
			t.Errorf("%d attempts; the next was not sent at once", n)
		}
		time.Sleep(time.Minute)
		if st := s.Status()[0]; st.Events != 1 || st.Failures != 0 || st.DeadLetters != 1 || st.Attempts != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// deaf takes a transaction in the moment in which it is told to stop.
type deaf struct{ begun chan struct{} }

func (d deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	d.begun <- struct{}{}
	<-r.Context().Done()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func TestWhatIsTakenIsNotSkipped(t *testing.T) {
	w, as := newWorld(), deaf{make(chan struct{})}
	s := start(t, w, sender.Options{
		Registry:  registry(t, service(t, "irc", "http://stub")),
		Transport: func(*registration.Registration) http.RoundTripper { return as },
	})
	w.say(room, "@irc_x:"+server)
	<-as.begun
	head, err := s.Frozen(t.Context(), "irc")
	if err != nil {
		t.Fatal(err)
	}
	refused(t, s.Skip(t.Context(), "irc", head.ID, "", "me"), "M_UNKNOWN")
	if st := s.Status()[0]; st.DeadLetters != 0 || st.Events != 1 {
		t.Errorf("%+v", st)
	}
}
