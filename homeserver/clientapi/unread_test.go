package clientapi_test

import (
	"fmt"
	"testing"

	"trestle/internal/testkit"
)

const threadFilter = `{"room":{"timeline":{"unread_thread_notifications":true}}}`

// unreadIn is what a /sync says of the unread in a room: "notifications/highlights",
// and the same for each thread; empty where it says nothing.
func unreadIn(r reply, room string, threads ...string) string {
	count := func(at any) string {
		c, ok := at.(map[string]any)
		if !ok {
			return ""
		}
		return fmt.Sprintf("%v/%v", c["notification_count"], c["highlight_count"])
	}
	said := count(r.at("rooms", "join", room, "unread_notifications"))
	for _, thread := range threads {
		said += " " + count(r.at("rooms", "join", room, "unread_thread_notifications", thread))
	}
	return said
}

func thread(root string) object { return object{"rel_type": "m.thread", "event_id": root} }

func mention(d *device) object { return object{"user_ids": []string{d.user}} }

// Receipts for threads, for the main timeline and for everything, and what they
// leave unread.
func TestUnreadThreads(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		bob.sync()
		since := bob.since
		a := alice.say(room, "hello")
		b := alice.say(room, "start", "m.relates_to", thread(a))
		alice.say(room, "hello bob", "m.relates_to", thread(a), "m.mentions", mention(bob))
		d := alice.say(room, "hello bob", "m.mentions", mention(bob))
		alice.say(room, "end", "m.relates_to", thread(a))
		f := alice.say(room, "reference", "m.relates_to", object{"rel_type": "m.reference", "event_id": a})
		g := alice.must("PUT", v3+"/rooms/"+room+"/send/m.room.reaction/1", object{
			"m.relates_to": object{"rel_type": "m.annotation", "event_id": f, "key": "test"},
		}).field("event_id")
		for _, step := range []struct {
			name, event, thread string
			all, main, inThread string
		}{
			{"nothing is read", "", "", "6/2", "3/1", "3/1"},
			{"the first message", a, "main", "5/2", "2/1", "3/1"},
			{"the first in the thread", b, a, "4/2", "2/1", "2/1"},
			{"everything up to a mention", d, "", "2/0", "1/0", "1/0"},
			{"the thread, by what relates to its root", g, a, "1/0", "1/0", ""},
		} {
			if step.event != "" {
				bob.read(room, "m.read", step.event, step.thread)
			}
			bob.since = since
			if got := unreadIn(bob.sync(), room); got != step.all {
				t.Errorf("%s: %q of the room, want %q", step.name, got, step.all)
			}
			bob.since = since
			if got := unreadIn(bob.sync("filter", threadFilter), room, a); got != step.main+" "+step.inThread {
				t.Errorf("%s: %q, want %q and %q in the thread", step.name, got, step.main, step.inThread)
			}
		}
		bob.refused("POST", v3+"/rooms/"+room+"/receipt/m.read/"+d, object{"thread_id": a}, 400, "M_INVALID_PARAM")
	})
}
