package bridge_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/bridges/bridge"
	"trestle/internal/testkit/fakehomeserver"
)

// What has piled up goes in few requests where the homeserver takes it so, and one by one where not, or
// where it says so and does not. In each case nothing is lost, doubled or out of order, though answers
// are lost, and somebody was removed from the room in the middle.
func TestMessagesGoTogether(t *testing.T) {
	for name, prepare := range map[string]func(h *fakehomeserver.Homeserver){
		"ordered": func(*fakehomeserver.Homeserver) {},
		"plain":   func(h *fakehomeserver.Homeserver) { h.Plain(false) },
		"denied":  func(h *fakehomeserver.Homeserver) { h.Plain(true) },
	} {
		t.Run(name, func(t *testing.T) {
			h := fakehomeserver.New(t)
			prepare(h)
			n, _ := start(t, h, t.TempDir()+"/db")
			room := join(t, h, "@alice:localhost")
			p := portal(t, n)
			names := []string{"bob", "carol", "dave"}
			for _, who := range names {
				say(p, who, "hello", time.Now()) // and has a profile
			}
			h.WaitN(room, "greetings", 3, isMessage)
			h.SetDown(true)
			const many = 250
			for i := range many {
				switch i {
				case 60:
					h.Member(room, "@alice:localhost", "@net_carol:localhost", "leave", "")
				case 130:
					p.SetTopic("about something else", time.Now())
				}
				say(p, names[i%3], fmt.Sprint(i), time.Now())
				if i%100 == 99 {
					p.Notice(fmt.Sprint("notice ", i))
				}
			}
			h.Fail(3)
			h.SetDown(false)
			got := h.WaitN(room, "messages", 3+many+2, isMessage)[3:]
			next, topic := 0, false
			for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) || e.Type == "m.room.topic" })[4:] {
				switch {
				case e.Type == "m.room.topic":
					if topic = true; next != 130 {
						t.Errorf("the topic comes before message %d", next)
					}
				case e.Body() == fmt.Sprint("notice ", next-1):
				case e.Body() != fmt.Sprint(next) || e.Sender != "@net_"+names[next%3]+":localhost":
					t.Fatalf("message %d is %q of %s", next, e.Body(), e.Sender)
				default:
					next++
				}
			}
			if len(got) != many+2 || next != many || !topic {
				t.Errorf("%d messages, in order %d; topic %v", len(got), next, topic)
			}
			if requests := h.Ordered(); name == "ordered" && (requests == 0 || requests > 20) || name != "ordered" && requests > 0 {
				t.Errorf("%d requests of many messages", requests)
			}
		})
	}
}

// A message that answers one that goes with it would find nothing to refer to.
func TestAReplyWaitsForWhatItAnswers(t *testing.T) {
	h := fakehomeserver.New(t)
	n, _ := start(t, h, t.TempDir()+"/db")
	room := join(t, h, "@alice:localhost")
	p := portal(t, n)
	say(p, "bob", "hello", time.Now())
	h.WaitBody(room, "@net_bob:localhost", "hello")
	h.SetDown(true)
	for i := range 5 {
		m := bridge.Message{
			Sender: ghost("bob"), Content: map[string]string{"msgtype": "m.text", "body": fmt.Sprint(i)}, Time: time.Now(), RemoteID: fmt.Sprint("id", i),
		}
		if i > 0 {
			m.ReplyTo = fmt.Sprint("id", i-1)
		}
		p.Say(m, nil)
	}
	h.SetDown(false)
	got := h.WaitN(room, "messages", 6, isMessage)[1:]
	for i, e := range got[1:] {
		if want := fmt.Sprintf(`"event_id":%q`, got[i].ID); !strings.Contains(string(e.Content), want) {
			t.Errorf("message %d is %s, which does not answer %s", i+1, e.Content, got[i].ID)
		}
	}
}

// Those who are in a large channel come in few requests, and are there and gone as if each had had its own.
func TestACrowdComesTogether(t *testing.T) {
	for name, prepare := range map[string]func(h *fakehomeserver.Homeserver){
		"ordered": func(*fakehomeserver.Homeserver) {},
		"plain":   func(h *fakehomeserver.Homeserver) { h.Plain(false) },
		"denied":  func(h *fakehomeserver.Homeserver) { h.Plain(true) },
	} {
		t.Run(name, func(t *testing.T) {
			h := fakehomeserver.New(t)
			prepare(h)
			n, _ := start(t, h, t.TempDir()+"/db")
			room := join(t, h, "@alice:localhost")
			p := portal(t, n)
			var everybody []bridge.Ghost
			for i := range 120 {
				everybody = append(everybody, ghost(fmt.Sprint("n", i)))
			}
			h.Fail(2)
			p.SetMembers(everybody, false)
			for _, g := range everybody {
				if e := h.WaitMembership(room, string(g.ID), "join"); !strings.Contains(string(e.Content), fmt.Sprintf(`"displayname":%q`, g.Name)) {
					t.Fatalf("%s came as %s", g.ID, e.Content)
				}
			}
			eventually(t, "all to be known to be there", func() bool { return len(p.Ghosts()) == 120 })
			if requests := h.Ordered(); name == "ordered" && (requests == 0 || requests > 20) || name != "ordered" && requests > 0 {
				t.Errorf("%d requests of many memberships", requests)
			}
			say(p, "n7", "hello", time.Now())
			h.WaitBody(room, "@net_n7:localhost", "hello")
			for _, g := range everybody {
				p.Leave(g, "netsplit")
			}
			for _, g := range everybody {
				if e := h.WaitMembership(room, string(g.ID), "leave"); e.Reason() != "netsplit" || e.Sender != string(g.ID) {
					t.Fatalf("%s left by %s with %s", g.ID, e.Sender, e.Content)
				}
			}
			eventually(t, "all to be gone", func() bool { return len(p.Ghosts()) == 0 })
		})
	}
}
