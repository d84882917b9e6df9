package delayed_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/delayed"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// Events are sent in their order when their time has come, and not before.
func TestSending(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		p.schedule(p.message(alice, "third", "3", 3*time.Second))
		p.schedule(p.message(alice, "first", "1", time.Second))
		second := p.schedule(p.message(alice, "second", "2", 2*time.Second))
		if again := p.schedule(delayed.Request{Room: p.room, User: alice, Type: "m.room.message", TxnKey: "2", Delay: 5}); again != second {
			t.Errorf("a repeat is another event: %s, %s", second, again)
		}
		if next := p.wait(999 * time.Millisecond); next != time.Millisecond || len(p.said()) > 0 {
			t.Errorf("too early: %v, and %v to go", p.said(), next)
		}
		p.wait(time.Millisecond)
		if said := p.said(); !slices.Equal(said, []string{"first"}) {
			t.Errorf("after a second: %v", said)
		}
		p.wait(time.Minute)
		if said := p.said(); !slices.Equal(said, []string{"first", "second", "third"}) {
			t.Errorf("after all: %v", said)
		}
		if e, err := p.Find(t.Context(), alice, second); err != nil || e.EventID == "" || e.FinalisedAt == 0 || e.Error != nil {
			t.Errorf("%+v, %v", e, err)
		}
		if again := p.schedule(p.message(alice, "second", "2", time.Second)); again != second {
			t.Error("a repeat of what has been sent is another event")
		}
		if next := p.wait(0); next != time.Hour {
			t.Errorf("nothing to do, and back in %v", next)
		}
	})
}

// An event is sent once, though nobody could store that it was.
func TestOnce(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		id := p.schedule(p.message(alice, "once", "", time.Second))
		p.broken = true
		if next := p.wait(time.Second); next != 10*time.Second {
			t.Errorf("back in %v", next)
		}
		if err := p.Act(t.Context(), id, delayed.Send); !errors.Is(err, errBroken) {
			t.Errorf("an answer that was lost: %v", err)
		}
		p.broken = false
		p.Service = delayed.New(p.options) // the next process
		p.wait(0)
		p.wait(time.Hour)
		if said := p.said(); !slices.Equal(said, []string{"once"}) {
			t.Errorf("%v", said)
		}
		p.wantCode("sending what was sent", p.Act(t.Context(), id, delayed.Send), "")
	})
}

func TestActions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		act := func(what, id string, action delayed.Action, code string) {
			t.Helper()
			p.wantCode(what, p.Act(t.Context(), id, action), code)
		}
		act("what is not there", "nothing", delayed.Cancel, "M_NOT_FOUND")

		cancelled := p.schedule(p.message(alice, "cancelled", "", time.Second))
		act("cancelling", cancelled, delayed.Cancel, "")
		act("cancelling again", cancelled, delayed.Cancel, "")
		act("sending what is cancelled", cancelled, delayed.Send, "M_UNKNOWN")
		act("restarting what is cancelled", cancelled, delayed.Restart, "M_UNKNOWN")

		sent := p.schedule(p.message(alice, "sent", "", time.Hour))
		act("sending", sent, delayed.Send, "")
		act("sending again", sent, delayed.Send, "")
		act("cancelling what is sent", sent, delayed.Cancel, "M_UNKNOWN")
		act("restarting what is sent", sent, delayed.Restart, "M_UNKNOWN")

		restarted := p.schedule(p.message(alice, "restarted", "", 10*time.Second))
		p.wait(9 * time.Second)
		act("restarting", restarted, delayed.Restart, "")
		p.wait(9 * time.Second)
		if said := p.said(); !slices.Equal(said, []string{"sent"}) {
			t.Errorf("before the end of the new delay: %v", said)
		}
		p.wait(time.Second)
		if said := p.said(); !slices.Equal(said, []string{"sent", "restarted"}) {
			t.Errorf("after it: %v", said)
		}
	})
}

// Who may not send is told so when the event is sent.
func TestRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		topic := delayed.Request{
			Room: p.room, User: bob, Type: "m.room.topic", StateKey: new(string), Content: json.RawMessage(`{"topic":"bob's"}`), Delay: 1000,
		}
		id := p.schedule(topic)
		p.wantCode("sending it now", p.Act(t.Context(), id, delayed.Send), "M_FORBIDDEN")
		e, err := p.Find(t.Context(), bob, id)
		p.must(err)
		if e.FinalisedAt != 0 {
			t.Error("it is not scheduled any more")
		}
		p.wait(time.Second)
		if e, err = p.Find(t.Context(), bob, id); err != nil || e.FinalisedAt == 0 || !strings.Contains(string(e.Error), `"errcode":"M_FORBIDDEN"`) {
			t.Errorf("%+v, %v", e, err)
		}
		p.wantCode("cancelling what could not be sent", p.Act(t.Context(), id, delayed.Cancel), "")
		p.wantCode("sending what could not be sent", p.Act(t.Context(), id, delayed.Send), "M_UNKNOWN")

		p.barred = matrix.UserSuspended()
		id = p.schedule(p.message(alice, "suspended", "", time.Second))
		p.wait(time.Second)
		if e, err = p.Find(t.Context(), alice, id); err != nil || !strings.Contains(string(e.Error), "M_USER_SUSPENDED") {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// When their time comes events count as nobody's haste, as they did when they
// were scheduled, and nothing is lost by what passes.
func TestHaste(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		p.options.Limiter = exhausted{}
		p.Service = delayed.New(p.options)
		id := p.schedule(p.message(alice, "on time", "", time.Second))
		p.wantCode("sending it now", p.Act(t.Context(), id, delayed.Send), "M_LIMIT_EXCEEDED")
		p.wait(time.Second)
		if said := p.said(); !slices.Equal(said, []string{"on time"}) {
			t.Errorf("on time: %v", said)
		}
		for _, passing := range []error{matrix.LimitExceeded(time.Second), matrix.NewError(503, "M_UNKNOWN", "Not now.")} {
			p.barred = passing
			id := p.schedule(p.message(alice, passing.Error(), "", time.Second))
			if next := p.wait(time.Second); next != 10*time.Second {
				t.Errorf("%v: back in %v", passing, next)
			}
			if e, err := p.Find(t.Context(), alice, id); err != nil || e.FinalisedAt != 0 {
				t.Errorf("%v: %+v, %v", passing, e, err)
			}
			p.barred = nil
			p.wait(10 * time.Second)
			if e, err := p.Find(t.Context(), alice, id); err != nil || e.EventID == "" {
				t.Errorf("%v: %+v, %v", passing, e, err)
			}
		}
	})
}

// exhausted lets nobody do anything.
type exhausted struct{}

func (exhausted) AllowKey(string, string) error { return matrix.LimitExceeded(time.Second) }

func TestScheduling(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		for name, tt := range map[string]struct {
			change func(*delayed.Request)
			code   string
		}{
			"no delay":         {func(r *delayed.Request) { r.Delay = 0 }, "M_INVALID_PARAM"},
			"a negative delay": {func(r *delayed.Request) { r.Delay = -1 }, "M_INVALID_PARAM"},
			"a long delay":     {func(r *delayed.Request) { r.Delay = time.Hour.Milliseconds() + 1 }, "M_MAX_DELAY_EXCEEDED"},
			"a stranger":       {func(r *delayed.Request) { r.User = "@carol:hs" }, "M_FORBIDDEN"},
			"no such room":     {func(r *delayed.Request) { r.Room = "!nowhere:hs" }, "M_FORBIDDEN"},
			"no content":       {func(r *delayed.Request) { r.Content = nil }, "M_NOT_JSON"},
			"a float":          {func(r *delayed.Request) { r.Content = json.RawMessage(`{"n":1.5}`) }, "M_BAD_JSON"},
			"too much content": {func(r *delayed.Request) { r.Content = json.RawMessage(`{"a":"` + strings.Repeat("a", 1<<16) + `"}`) }, "M_TOO_LARGE"},
		} {
			req := p.message(alice, "hello", "", time.Second)
			tt.change(&req)
			_, err := p.Schedule(t.Context(), req)
			p.wantCode(name, err, tt.code)
		}
		for _, text := range []string{"a", "b", "c"} {
			p.schedule(p.message(alice, text, text, time.Minute))
		}
		_, err := p.Schedule(t.Context(), p.message(alice, "d", "d", time.Minute))
		p.wantCode("one too many", err, "M_LIMIT_EXCEEDED")
		var limit *matrix.Error
		if !errors.As(err, &limit) || limit.Header.Get("Retry-After") != "60" {
			t.Errorf("%+v", limit)
		}
		p.schedule(p.message(bob, "bob's own", "", time.Minute))
		p.wait(time.Minute)
		p.schedule(p.message(alice, "d", "d", time.Minute))
	})
}

// What became of events is known for a while, and of a user who is no more
// nothing is left.
func TestForgetting(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		p := newPost(t, url)
		old := p.schedule(p.message(alice, "old", "", time.Second))
		p.wait(time.Second)
		p.wait(7 * 24 * time.Hour)
		p.must(p.Tidy(t.Context()))
		if _, err := p.Find(t.Context(), alice, old); err != nil {
			t.Errorf("after a week: %v", err)
		}
		p.wait(time.Millisecond)
		p.must(p.Tidy(t.Context()))
		_, err := p.Find(t.Context(), alice, old)
		p.wantCode("after more than a week", err, "M_NOT_FOUND")

		for range 3 {
			p.must(p.Act(t.Context(), p.schedule(p.message(alice, "x", "", time.Second)), delayed.Cancel))
		}
		p.must(p.options.DB.Update(t.Context(), func(tx *database.Tx) error { return p.options.Events.Tidy(t.Context(), tx, 0, 2) }))
		if list, err := p.List(t.Context(), delayed.Query{User: alice, Finalised: true, Limit: 10}); err != nil || len(list) != 2 {
			t.Errorf("%d are left, %v", len(list), err)
		}
		waiting := p.schedule(p.message(alice, "never", "", time.Second))
		p.must(p.Deactivated(t.Context(), alice, false))
		p.wait(time.Second)
		p.wantCode("of a user who is no more", p.Act(t.Context(), waiting, delayed.Send), "M_NOT_FOUND")
	})
}
