package sender_test

import (
	"testing"
	"testing/synctest"
	"time"

	"trestle/appservice/sender"
)

// The age of a backlog is how long it waits, whatever times services give to events:
// while everything is in memory, when it is read again, and behind what is frozen.
func TestTheAgeOfABacklogIsNotChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: 503}
		w, s, _ := startStub(t, as)
		oldest := func(what string, want time.Time) {
			t.Helper()
			synctest.Wait()
			got := s.Status()[0].Oldest
			if early := want.Sub(got); early < 0 || early > 15*time.Second { // since when it was last idle
				t.Errorf("%s: the oldest event waits since %v, not %v", what, got, want)
			}
		}
		chosen := func(at time.Time) {
			w.add(sender.Change{Room: room, Sender: "@irc_x:" + server, Time: at.UnixMilli()})
		}
		time.Sleep(time.Hour)
		begin := time.Now()
		chosen(begin.AddDate(-10, 0, 0))
		oldest("of ten years ago", begin)
		time.Sleep(time.Minute)
		chosen(begin.AddDate(10, 0, 0))
		oldest("of the future", begin)

		// More than is kept in memory is read again when the service is back.
		for range 2000 {
			w.say(room, "@irc_x:"+server)
		}
		time.Sleep(time.Hour)
		for range 2000 {
			chosen(begin.AddDate(-5, 0, 0))
		}
		oldest("much", begin)
		as.set(200, time.Second)
		s.Retry("irc")
		for events := uint64(0); events < 4002; {
			time.Sleep(time.Second)
			st := s.Status()[0]
			if events = st.Events; !st.Oldest.IsZero() && st.Oldest.Before(begin.Add(-15*time.Second)) {
				t.Fatalf("after %d events, the oldest that waits is of %v", events, st.Oldest)
			}
		}
	})
}
