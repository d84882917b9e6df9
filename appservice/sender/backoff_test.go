package sender_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trestle/appservice/sender"
	"trestle/registration"
)

// A stub is a service without a network: it takes a time to answer and says
// what it is told.
type stub struct {
	mu       sync.Mutex
	status   int
	body     string
	took     time.Duration
	attempts []time.Time // to deliver a transaction
	requests int
}

func (s *stub) set(status int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.took = status, took
}

func (s *stub) transport(*registration.Registration) http.RoundTripper { return s }

func (s *stub) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts)
}

func (s *stub) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.requests++
	if r.Method == http.MethodPut {
		s.attempts = append(s.attempts, time.Now())
	}
	status, took := s.status, s.took
	s.mu.Unlock()
	if r.Method == http.MethodPost {
		status = http.StatusOK // pings are always answered
	}
	select {
	case <-time.After(took):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	rec.WriteHeader(status)
	_, _ = rec.WriteString(s.body)
	return rec.Result(), nil
}

func startStub(t *testing.T, s *stub) (*world, *sender.Service, *registration.Registry) {
	w := newWorld()
	regs := registry(t, service(t, "irc", "http://stub"))
	return w, start(t, w, sender.Options{
		Registry: regs, BackoffMin: time.Second, BackoffMax: time.Minute,
		Transport: func(*registration.Registration) http.RoundTripper { return s },
	}), regs
}

func TestBackoffGrowsToItsCapWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusBadGateway}
		w, _, _ := startStub(t, as)
		w.say(room, "@irc_x:"+server)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		longest, attempts := time.Second, as.times()
		for i := range len(attempts) - 1 {
			pause := attempts[i+1].Sub(attempts[i])
			if pause < longest/2 || pause > longest {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, longest/2, longest)
			}
			longest = min(2*longest, time.Minute)
		}
		if n := len(attempts); n < 14 || n > 30 {
			t.Errorf("%d attempts in ten minutes", n)
		}
	})
}

func TestBackoffEndsByWordPingAndRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{}
		w, s, regs := startStub(t, as)
		w.say(room, "@irc_x:"+server)
		for name, end := range map[string]func(){
			"an operator's word": func() { s.Retry("irc") },
			"a ping": func() {
				if _, err := s.Ping(t.Context(), "irc", ""); err != nil {
					t.Fatal(err)
				}
			},
			"a new registration": func() {
				r := service(t, "irc", "http://stub/elsewhere")
				regs.Store(registry(t, r).Load())
				if err := s.Reload(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
		} {
			time.Sleep(20 * time.Minute) // at the cap by now
			synctest.Wait()
			for time.Since(as.times()[len(as.times())-1]) > time.Second {
				time.Sleep(time.Second / 2) // until just after an attempt
				synctest.Wait()
			}
			before := len(as.times())
			end()
			synctest.Wait()
			if got := len(as.times()) - before; got != 1 {
				t.Errorf("%s led to %d attempts at once", name, got)
			}
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if got := len(as.times()) - before; got < 2 {
				t.Errorf("after %s the pauses did not begin small again", name)
			}
		}
		as.mu.Lock()
		as.status = http.StatusOK
		as.mu.Unlock()
		s.Retry("irc")
		synctest.Wait()
		if st := s.Status()[0]; st.Events != 1 || st.Backlog() != 0 || st.Attempts != 0 {
			t.Errorf("the event is not delivered: %+v", st)
		}
	})
}

// A service that has moved is not waited for where it was.
func TestAServiceThatHasMovedIsSentToAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging, there := &stub{status: http.StatusOK, took: time.Hour}, &stub{status: http.StatusOK}
		w, regs := newWorld(), registry(t, service(t, "irc", "http://before"))
		s := start(t, w, sender.Options{Registry: regs, Transport: func(r *registration.Registration) http.RoundTripper {
			if r.URL == "http://before" {
				return hanging
			}
			return there
		}})
		w.say(room, "@irc_x:"+server)
		synctest.Wait()
		regs.Store(registry(t, service(t, "irc", "http://now")).Load())
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if st := s.Status()[0]; st.Events != 1 || st.Failures != 0 || len(hanging.times()) != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestHangingServiceTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusOK, took: time.Hour}
		w, s, _ := startStub(t, as)
		w.say(room, "@irc_x:"+server)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if st := s.Status()[0]; st.Attempts != 1 || !strings.Contains(st.LastError, "deadline") {
			t.Errorf("after a minute: %+v", st)
		}
	})
}

// A process that another one may have replaced says nothing to services.
func TestSilentWhereAnotherServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusOK}
		serves := make(chan bool, 1)
		serves <- false
		w := newWorld()
		start(t, w, sender.Options{
			Registry: registry(t, service(t, "irc", "http://stub")), BackoffMin: time.Second, BackoffMax: time.Second,
			Transport: func(*registration.Registration) http.RoundTripper { return as },
			Serves: func() bool {
				now := <-serves
				serves <- now
				return now
			},
		})
		w.say(room, "@irc_x:"+server)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(as.times()); n != 0 {
			t.Errorf("%d attempts of a process that does not serve", n)
		}
		<-serves
		serves <- true
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := len(as.times()); n != 1 {
			t.Errorf("%d attempts of one that does", n)
		}
	})
}
