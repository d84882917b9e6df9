package pushers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trestle/internal/matrix"
)

// An office has a desk whose work takes a time and ends as it is told.
type office struct {
	desk *desk
	mu   sync.Mutex
	took map[int64]time.Duration
	ends map[int64]func() outcome
	done map[int64][]time.Time
	most int // at work at the same time
	now  int
}

func (o *office) work(ctx context.Context, id int64) outcome {
	o.mu.Lock()
	o.now++
	o.most = max(o.most, o.now)
	took, end := o.took[id], o.ends[id]
	o.done[id] = append(o.done[id], time.Now())
	o.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now--
	if end == nil {
		return outcome{contacted: true}
	}
	return end()
}

func (o *office) times(id int64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.done[id])
}

// open runs a desk for some time. The function says what there is to do.
func open(t *testing.T, hours time.Duration, fn func(o *office)) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{took: map[int64]time.Duration{}, ends: map[int64]func() outcome{}, done: map[int64][]time.Time{}}
		o.desk = newDesk(deskOptions{work: o.work, atOnce: 20, backoffMin: time.Second, backoffMax: time.Minute, metrics: newMetrics()})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		none := func(context.Context, matrix.UserID) (map[int64]string, error) { return nil, nil }
		running.Go(func() {
			fn(o) // before it runs, what it adds is its own
			o.desk.run(ctx, t.Context(), none)
		})
		time.Sleep(hours * time.Hour)
	})
}

func user(id int64) matrix.UserID { return matrix.UserID(fmt.Sprintf("@u%d:hs.example", id)) }

var errTest = errors.New("as the test wants it")

// Places that do not answer hold up themselves only.
func TestDeadPlacesCostOthersNothing(t *testing.T) {
	var o *office
	open(t, 1, func(office *office) {
		o = office
		for id := int64(1); id <= 1000; id++ {
			o.took[id] = 15 * time.Second
			o.ends[id] = func() outcome { return outcome{err: errTest, dead: true} }
			o.desk.insert(id, user(id), fmt.Sprintf("https://dead%d.example", id%100))
		}
		for id := int64(2001); id <= 2100; id++ {
			o.took[id] = 100 * time.Millisecond
			o.desk.insert(id, user(id), "https://live.example")
		}
	})
	began := o.done[2001][0]
	for id := int64(2001); id <= 2100; id++ {
		switch n := len(o.done[id]); {
		case n != 1:
			t.Errorf("pusher %d worked %d times", id, n)
		case o.done[id][0].Sub(began) > 3*time.Second:
			t.Errorf("pusher %d came %v after the first", id, o.done[id][0].Sub(began))
		}
	}
	if o.most > 20+strangersAtOnce {
		t.Errorf("%d were at work at the same time", o.most)
	}
}

func TestBackoff(t *testing.T) {
	var o *office
	open(t, 2, func(office *office) {
		o = office
		o.ends[1] = func() outcome { return outcome{err: errTest, contacted: true} }
		o.ends[2] = func() outcome { return outcome{err: errTest, dead: true} }
		o.ends[3] = func() outcome { return outcome{err: errTest, contacted: true, notBefore: 40 * time.Second} }
		o.desk.insert(1, user(1), "https://failing.example")
		o.desk.insert(2, user(2), "https://dead.example")
		o.desk.insert(3, user(3), "https://busy.example")
	})
	for id := int64(1); id <= 2; id++ {
		longest, times := time.Second, o.done[id]
		for i := range len(times) - 1 {
			if pause := times[i+1].Sub(times[i]); pause < longest/2 || pause > longest+time.Millisecond {
				t.Fatalf("pusher %d: pause %d is %v, want %v to %v", id, i, pause, longest/2, longest)
			}
			longest = min(2*longest, time.Minute)
		}
		if len(times) < 2*60 {
			t.Errorf("pusher %d has tried %d times in two hours", id, len(times))
		}
	}
	if pause := o.done[3][1].Sub(o.done[3][0]); pause < 40*time.Second {
		t.Errorf("it did not wait as it was asked to: %v", pause)
	}
}

func TestWaking(t *testing.T) {
	var o *office
	open(t, 24, func(office *office) {
		o = office
		o.took[1] = 10 * time.Second
		o.desk.insert(1, user(1), "https://a.example")
		o.ends[2] = func() outcome { return outcome{after: time.Hour} }
		o.desk.insert(2, user(2), "https://b.example")
		o.ends[3] = func() outcome { return outcome{after: time.Hour, patient: true} }
		o.desk.insert(3, user(3), "https://b.example")
		o.ends[4] = func() outcome { return outcome{gone: true} }
		o.desk.insert(4, user(4), "https://b.example")
		all := []matrix.UserID{user(1), user(2), user(3), user(4)}
		go func() {
			for range 3 {
				time.Sleep(2 * time.Second)
				o.desk.inbox.wake(all)
			}
		}()
	})
	// While it worked it was woken three times: once more is enough.
	if n := o.times(1); n != 2 {
		t.Errorf("pusher 1 worked %d times", n)
	}
	if n := o.times(2); n < 26 || n > 28 {
		t.Errorf("pusher 2 worked %d times", n)
	}
	if n := o.times(3); n < 23 || n > 25 {
		t.Errorf("pusher 3 worked %d times", n)
	}
	if n := o.times(4); n != 1 {
		t.Errorf("pusher 4 worked %d times", n)
	}
}

func TestPause(t *testing.T) {
	for failures := 1; failures < 200; failures++ {
		if d := pause(failures, time.Second, time.Hour); d < time.Second/2 || d > time.Hour {
			t.Errorf("after %d failures: %v", failures, d)
		}
	}
}

// Whatever a gateway answers, it is read without a panic, and rejected keys
// are such as could have been sent.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"rejected":["a"]}`, `{"rejected":[1,"b",null]}`, `{}`, `[]`, `{"rejected":{}}`, `{"rejected":["` + "\x00" + `"]}`, "", "OK"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, key := range parseAnswer(body) {
			if key == "" || len(key) > maxKey {
				t.Errorf("%q", key)
			}
		}
	})
}

func FuzzData(f *testing.F) {
	for _, seed := range []string{`{"url":"https://a.example/_matrix/push/v1/notify"}`, `{"format":"event_id_only"}`, `{"url":null}`, `null`, `[]`, `{"a":{"b":[1]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		to, err := readData(raw)
		if err != nil {
			return
		}
		if again, err := readData(to.Rest); err != nil || again.URL != "" || again.IDOnly != to.IDOnly || again.NoBadge != to.NoBadge {
			t.Errorf("%s became %s: %v", raw, to.Rest, err)
		}
	})
}
