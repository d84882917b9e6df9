package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/internal/testkit"
)

// deaths is how many leaders are killed: TEST_CRASHES, or a few.
func deaths(t *testing.T) int { return testkit.Size(t, "TEST_CRASHES", 2) }

// talk sends numbered messages through all processes in turn, until done, and
// returns how many.
func (w *world) talk(done <-chan struct{}, token, room, who string) (n int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; ; n++ {
		select {
		case <-done:
			return n
		case <-tick.C:
		}
		path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%s%d", v3, url.PathEscape(room), who, n)
		var sent map[string]any
		err := w.must(w.t.Context(), n, token, "PUT", path, map[string]string{"msgtype": "m.text", "body": fmt.Sprint(who, " ", n)}, &sent)
		if err != nil {
			w.t.Error(err)
			return n
		}
	}
}

// listen syncs through one process after the other until it has heard the last
// message. A process that lives does not fail, whatever becomes of the leader.
func (w *world) listen(ctx context.Context, token, room, last string) (bodies []string) {
	filter := url.QueryEscape(`{"room":{"timeline":{"limit":1000,"types":["m.room.message"]}}}`)
	since := ""
	for i := 0; ; i++ {
		p := w.processes[i%len(w.processes)]
		before := p.deaths.Load()
		var answer struct {
			Next  string `json:"next_batch"`
			Rooms struct {
				Join map[string]struct {
					Timeline struct {
						Events  []message
						Limited bool
					}
				}
			}
		}
		_, err := w.once(ctx, p, token, "GET", v3+"/sync?timeout=3000&filter="+filter+"&since="+url.QueryEscape(since), nil, &answer)
		if ctx.Err() != nil {
			w.t.Errorf("heard %d messages, and never %q", len(bodies), last)
			return bodies
		}
		if err != nil {
			if before%2 == 0 && p.deaths.Load() == before {
				w.t.Errorf("a process that lives has failed: %v", err)
			}
			continue
		}
		since = answer.Next
		timeline := answer.Rooms.Join[room].Timeline
		if timeline.Limited {
			w.t.Error("messages were left out")
		}
		for _, e := range timeline.Events {
			if bodies = append(bodies, e.Content.Body); e.Content.Body == last {
				return bodies
			}
		}
	}
}

// Leaders are killed, stopped and told to go while people talk through all
// processes: each time another serves within seconds, and neither people nor the
// application service see more of it than a delay.
func TestTheClusterServesWhoeverDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	alice, bob := w.person("alice"), w.person("bob")
	room := w.do("POST", v3+"/createRoom", asToken, map[string]any{"preset": "public_chat"})["room_id"].(string)
	for _, token := range []string{alice, bob} {
		w.do("POST", v3+"/join/"+url.PathEscape(room), token, map[string]any{})
	}
	done := make(chan struct{})
	var talking, listening sync.WaitGroup
	sent := make([]int, len(w.processes))
	for i := range sent {
		talking.Go(func() { sent[i] = w.talk(done, alice, room, string(rune('a'+i))) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(deaths(t))*time.Minute)
	defer cancel()
	var heard []string
	listening.Go(func() { heard = w.listen(ctx, bob, room, "the end") })
	for range deaths(t) {
		w.endure("kill -9", time.Minute, alice, (*testkit.Trestle).Kill)
	}
	w.endure("SIGTERM", time.Minute, alice, (*testkit.Trestle).Stop)
	w.standStill(alice)
	close(done)
	talking.Wait()
	w.do("PUT", v3+"/rooms/"+url.PathEscape(room)+"/send/m.room.message/last", alice, map[string]string{"msgtype": "m.text", "body": "the end"})
	listening.Wait()

	ids, bodies := w.history(alice, room)
	if !slices.Equal(heard, bodies) {
		at := 0
		for at < min(len(heard), len(bodies)) && heard[at] == bodies[at] {
			at++
		}
		t.Errorf("bob has heard %d messages of %d; from number %d on %q, and the room has %q",
			len(heard), len(bodies), at, heard[at:min(at+20, len(heard))], bodies[at:min(at+20, len(bodies))])
	}
	w.complete(sent, bodies)
	w.delivered(room, ids)
	txns := len(w.service.Transactions())
	t.Logf("%d messages in %d transactions, %d attempts in vain", len(bodies), txns, len(w.service.Attempts())-txns)
}

// complete holds the messages of a room to what each talker has sent.
func (w *world) complete(sent []int, bodies []string) {
	w.t.Helper()
	there := map[string]bool{}
	for _, body := range bodies {
		there[body] = true
	}
	total := 1 // the last one
	for i, n := range sent {
		total += n
		for k := range n {
			if !there[fmt.Sprint(string(rune('a'+i)), " ", k)] {
				w.t.Errorf("message %d of talker %d is lost", k, i)
			}
		}
	}
	if len(bodies) != total {
		w.t.Errorf("%d messages were sent, and there are %d", total, len(bodies))
	}
}

// delivered waits until the service has the whole room: each event once, in
// order. That repeats are the same bytes the service sees for itself.
func (w *world) delivered(room string, ids []string) {
	w.t.Helper()
	var got []string
	w.service.UntilSeen(w.t, "the whole room", func(list []*appservice.Transaction) bool {
		got = nil
		for _, txn := range list {
			for _, raw := range txn.Events {
				var e struct {
					ID   string `json:"event_id"`
					Room string `json:"room_id"`
				}
				if json.Unmarshal(raw, &e) == nil && e.Room == room {
					got = append(got, e.ID)
				}
			}
		}
		return len(got) >= len(ids)
	})
	if !slices.Equal(got, ids) {
		w.t.Errorf("the service has %d events of a room with %d, or others", len(got), len(ids))
	}
}

// endure ends the leader in some way, waits until another one has done
// something, and starts the old one again.
func (w *world) endure(how string, within time.Duration, token string, end func(*testkit.Trestle)) {
	w.t.Helper()
	old := w.busy()
	old.deaths.Add(1)
	begun := time.Now()
	end(old.Trestle)
	next := w.leader(old)
	w.writes(next, token)
	took := time.Since(begun)
	w.t.Logf("%s of process %d: process %d has written after %v", how, old.number, next.number, took.Round(time.Millisecond))
	if took > within {
		w.t.Errorf("that took longer than %v", within)
	}
	old.Start()
	old.deaths.Add(1)
	if status, role := w.health(old); status != http.StatusOK || role != "standby" {
		w.t.Errorf("process %d is back as %q, %d", old.number, role, status)
	}
}

// busy is the leader, once it has delivered a little.
func (w *world) busy() *process {
	w.t.Helper()
	p := w.leader(nil)
	w.service.UntilAttempt(w.t, len(w.service.Attempts())+20)
	return p
}

// writes has a process change something.
func (w *world) writes(p *process, token string) {
	w.t.Helper()
	if _, err := w.once(w.t.Context(), p, token, "PUT", v3+"/profile/@alice:localhost/displayname", map[string]string{"displayname": fmt.Sprint("Alice ", p.number)}, new(map[string]any)); err != nil {
		w.t.Error(err)
	}
}

// standStill stops the leader without ending it. When it wakes up, another
// leads, and it has no more to say.
func (w *world) standStill(token string) {
	w.t.Helper()
	old := w.busy()
	old.deaths.Add(1)
	begun := time.Now()
	old.Freeze()
	next := w.leader(old)
	w.writes(next, token)
	stale := w.asksStill(old, next, token)
	w.t.Logf("SIGSTOP of process %d: process %d has written after %v", old.number, next.number, time.Since(begun).Round(time.Millisecond))
	old.Thaw()
	stale()
	if err := old.Ended(); err == nil || !strings.Contains(old.Log(), "the lock on the database is lost") {
		w.t.Errorf("a leader that was replaced has ended with %v", err)
	}
	old.Start()
	old.deaths.Add(1)
}

// asksStill has somebody whom the new leader has answered ask the old one, which stands still. What it says when it goes on is
// not older than what they know.
func (w *world) asksStill(old, next *process, token string) (judge func()) {
	w.t.Helper()
	position := func(token string) (n int) {
		w.t.Helper()
		if _, err := fmt.Sscanf(token, "s%d", &n); err != nil {
			w.t.Errorf("the token is %q", token)
		}
		return n
	}
	var known struct {
		Next string `json:"next_batch"`
	}
	if _, err := w.once(w.t.Context(), next, token, "GET", v3+"/sync?timeout=0", nil, &known); err != nil {
		w.t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 5 {
		asking.Go(func() {
			var said struct {
				Next string `json:"next_batch"`
			}
			_, err := w.once(w.t.Context(), old, token, "GET", v3+"/sync?timeout=0&since="+url.QueryEscape(known.Next), nil, &said)
			if err == nil && position(said.Next) < position(known.Next) {
				w.t.Errorf("after %s process %d, which was replaced, has said %s", known.Next, old.number, said.Next)
			}
		})
	}
	return asking.Wait
}

// Who is not the same server is not let in.
func TestAStrangerDoesNotStandBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for name, args := range map[string][]string{
		"another name": {"--data", w.data, "--server-name", "example.org"},
		"another key":  {"--data", filepath.Join(t.TempDir(), "data"), "--server-name", "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			args = append([]string{"serve", "--database", w.database, "--cluster", "127.0.0.1:0", "--listen", "127.0.0.1:0"}, args...)
			output, err := exec.CommandContext(ctx, testkit.Binary(t), args...).CombinedOutput()
			if err == nil || !strings.Contains(string(output), "another server_name or another signing key") {
				t.Errorf("%v:\n%s", err, output)
			}
		})
	}
	if status, role := w.health(w.processes[0]); status != http.StatusOK || role != "leader" {
		t.Errorf("the leader is %q, %d", role, status)
	}
}
