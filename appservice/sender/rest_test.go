package sender_test

import (
	"testing"
	"testing/synctest"
	"time"

	"trestle/appservice/sender"
	"trestle/registration"
)

// However much waits, operators see how much: what is in memory, what is in the
// stream alone, and, after a start, at most so much until it has been read.
func TestTheWholeBacklogIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: 503}
		w, store := newWorld(), newMemory()
		regs := registry(t, service(t, "irc", "http://stub"))
		begin := func() *sender.Service {
			return start(t, w, stubbed(as, regs, store))
		}
		s := begin()
		backlog := func(what string, want int, atMost bool) {
			t.Helper()
			synctest.Wait()
			if st := s.Status()[0]; st.Backlog() != want || st.AtMost != atMost {
				t.Errorf("%s: %d events wait (at most: %v), not %d; %+v", what, st.Backlog(), st.AtMost, want, st)
			}
		}
		talk := func(n int) {
			for i := range n {
				w.say(room, "@irc_x:"+server)
				w.say("!elsewhere:"+server, "@alice:"+server)
				if i%100 == 0 {
					synctest.Wait()
				}
			}
		}
		talk(100)
		backlog("a few", 100, false)
		talk(4900)
		backlog("many", 5000, false)
		s.Retry("irc")
		talk(10)
		backlog("a try in vain", 5010, false)

		closeNow(s)
		s = begin()
		backlog("a start, not far behind", 5010, false)
		closeNow(s)
		w.skip(100_000)
		s = begin()
		st := s.Status()[0]
		synctest.Wait()
		if st = s.Status()[0]; !st.AtMost || st.Backlog() < 5010 || st.Backlog() > 10_020 {
			t.Errorf("a start, far behind: %d events wait, %+v", st.Backlog(), st)
		}
		as.set(200, 10*time.Millisecond)
		s.Retry("irc")
		left := 5010 - int(st.Events)
		for last := st.Backlog(); last > 0; {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			st = s.Status()[0]
			if now, waits := st.Backlog(), left-int(st.Events); now > last || now < waits || !st.AtMost && now != waits {
				t.Fatalf("%d events wait, of %d before, and %d do: %+v", now, last, waits, st)
			} else {
				last = now
			}
		}
		talk(3)
		as.set(503, 0)
		talk(2000)
		st = s.Status()[0]
		backlog("again", 5010+2003-int(st.Events), false)
	})
}

func stubbed(as *stub, regs *registration.Registry, store sender.Store) sender.Options {
	return sender.Options{
		Registry: regs, Store: store, BackoffMin: time.Second, BackoffMax: time.Minute, Transport: as.transport,
	}
}
