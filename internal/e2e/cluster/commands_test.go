package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/internal/testkit"
)

// command runs trestle appservice on the machine of a process, which has no more than
// that one to speak to.
func (w *world) command(p *process, line ...string) (output string, err error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	args := append([]string{"appservice"}, line...)
	args = append(args, "--data", w.data, "--database", w.database, "--cluster", "127.0.0.1:0", "--listen", p.Addr, "--no-bridges")
	text, err := exec.CommandContext(ctx, testkit.Binary(w.t), args...).CombinedOutput()
	return string(text), err
}

// says runs a command that has to succeed, and to say something.
func (w *world) says(p *process, want string, line ...string) string {
	w.t.Helper()
	output, err := w.command(p, line...)
	if err != nil || !strings.Contains(output, want) {
		w.t.Fatalf("trestle appservice %s at process %d: %v: %s, want %q", strings.Join(line, " "), p.number, err, output, want)
	}
	return output
}

// untilSays repeats a command until it says something.
func (w *world) untilSays(p *process, want string, line ...string) {
	w.t.Helper()
	output := ""
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !strings.Contains(output, want); {
		output, _ = w.command(p, line...)
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("trestle appservice %s at process %d never says %q: %s", strings.Join(line, " "), p.number, want, output)
		}
	}
}

// said reports which messages the service was sent, whether it took them or not.
func (w *world) said(list []*appservice.Transaction) (bodies string) {
	for _, txn := range list {
		for _, raw := range txn.Events {
			var m message
			if json.Unmarshal(raw, &m) == nil {
				bodies += m.Content.Body + " "
			}
		}
	}
	return bodies
}

// hears waits until the service was sent a message.
func (w *world) hears(body string) {
	w.t.Helper()
	w.service.UntilSeen(w.t, body, func(list []*appservice.Transaction) bool { return strings.Contains(w.said(list), body) })
}

func (w *world) tell(token, room, body string) {
	w.t.Helper()
	path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%s", v3, url.PathEscape(room), body)
	w.do("PUT", path, token, map[string]string{"msgtype": "m.text", "body": body})
}

// What operators do at a process that stands by is done where the delivery is, and is
// in force for whoever leads next.
func TestCommandsReachWhoDelivers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	leader := w.leader(nil)
	other := w.processes[1-leader.number]
	alice := w.person("alice")
	room := w.do("POST", v3+"/createRoom", asToken, map[string]any{"preset": "public_chat"})["room_id"].(string)
	w.do("POST", v3+"/join/"+url.PathEscape(room), alice, map[string]any{})
	w.tell(alice, room, "welcome")
	w.hears("welcome")
	w.untilSays(leader, "fine", "show", "crash") // it has taken that

	w.refuses.Store(true)
	w.tell(alice, room, "poison")
	w.hears("poison")
	w.says(other, "is paused", "pause", "crash", "--reason", "repairs")
	w.says(leader, "repairs", "show", "crash")
	w.says(other, "is a dead letter now", "skip", "crash", "--reason", "it chokes")
	letter, _, _ := strings.Cut(w.says(leader, "it chokes", "letters", "crash"), " ")
	w.tell(alice, room, "flood")
	w.untilSays(leader, "flood", "show", "crash", "--transaction")
	w.says(other, "1 transaction of 1 event: dead letters", "skip", "crash", "--all", "--reason", "nobody wants it")

	// The pause is for whoever leads next, too.
	leader.Kill()
	if w.leader(leader) != other {
		t.Fatal("another process leads")
	}
	leader.Start()
	leader, other = other, leader
	w.says(leader, "repairs", "show", "crash")
	w.tell(alice, room, "patience")
	w.refuses.Store(false)
	w.says(other, "delivered to again", "resume", "crash")
	w.hears("patience")
	if got := w.said(w.service.Transactions()); strings.Contains(got, "flood") {
		t.Errorf("what was skipped was sent: %s", got)
	}
	w.untilSays(leader, "fine", "show", "crash")

	before := len(w.service.Attempts())
	w.says(other, "has taken it", "replay", letter)
	attempts := w.service.Attempts()
	if last := attempts[len(attempts)-1]; len(attempts) != before+1 || !last.Repeat {
		t.Errorf("%d attempts became %d, the last %+v", before, len(attempts), last)
	}

	rotated := w.says(other, "refused from now on", "rotate-token", "crash", "--grace", "0s")
	token := regexp.MustCompile(`as_token: (\S+)`).FindStringSubmatch(rotated)[1]
	for _, p := range w.processes {
		status, err := w.once(t.Context(), p, token, "GET", v3+"/account/whoami", nil, new(map[string]any))
		if err != nil {
			t.Errorf("the new token: %d, %v", status, err)
		}
		if status, _ := w.once(t.Context(), p, asToken, "GET", v3+"/account/whoami", nil, new(map[string]any)); status != http.StatusUnauthorized {
			t.Errorf("the old token is answered with %d by process %d", status, p.number)
		}
	}

	w.says(other, "no service of this server", "remove", "crash", "--reason", "it is over")
	w.says(leader, "gone", "list")
	w.says(other, "is forgotten", "forget", "crash", "--reason", "it is over")
	if list := w.says(leader, "ID", "list"); strings.Contains(list, "crash") {
		t.Errorf("the leader has not forgotten it: %s", list)
	}
}
