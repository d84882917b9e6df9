package clientapi_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"trestle/internal/config"
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
			eventually(t, step.name+": "+step.all+" of the room", func() bool {
				bob.since = since
				return unreadIn(bob.sync(), room) == step.all
			})
			bob.since = since
			if got := unreadIn(bob.sync("filter", threadFilter), room, a); got != step.main+" "+step.inThread {
				t.Errorf("%s: %q, want %q and %q in the thread", step.name, got, step.main, step.inThread)
			}
		}
		bob.refused("POST", v3+"/rooms/"+room+"/receipt/m.read/"+d, object{"thread_id": a}, 400, "M_INVALID_PARAM")
	})
}

// eventIn reports whether an event is in the timeline of a room in a /sync.
func eventIn(r reply, room, event string) bool {
	list, _ := r.at("rooms", "join", room, "timeline", "events").([]any)
	for _, e := range list {
		if e.(map[string]any)["event_id"] == event {
			return true
		}
	}
	return false
}

// A count is in the answer in which the event is, unless counting takes longer
// than an answer waits, and whatever changes it wakes the client.
func TestUnread(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.room(bob, carol)
		bob.sync()
		expect := func(step, want string) {
			t.Helper()
			bob.syncUntil(step+": "+want, func(r reply) bool { return unreadIn(r, room) == want })
		}
		var last string
		late := 0
		for i := range 20 {
			last = alice.say(room, "hello")
			res := bob.syncFor(time.Minute)
			if !eventIn(res, room, last) {
				t.Errorf("message %d is not in %s", i+1, res.body)
			}
			if want := fmt.Sprintf("%d/0", i+1); unreadIn(res, room) != want {
				late++
				expect(fmt.Sprint("message ", i+1), want)
			}
		}
		if late > 10 {
			t.Errorf("%d of 20 counts come after their event", late)
		}
		if res := bob.sync(); res.at("rooms") != nil {
			t.Errorf("told again: %s", res.body)
		}
		bob.read(room, "m.read", last, "")
		expect("all is read", "0/0")
		mentioned := alice.say(room, "bob", "m.mentions", mention(bob))
		expect("a mention", "1/1")
		alice.say(room, "bob?", "m.mentions", mention(bob))
		expect("another", "2/2")
		bob.read(room, "m.read.private", mentioned, "")
		expect("the first is read", "1/1")
		bob.say(room, "what?")
		expect("an answer", "0/0")
		gone := alice.say(room, "nothing", "m.mentions", mention(bob))
		expect("before it is redacted", "1/1")
		alice.must("PUT", v3+"/rooms/"+room+"/redact/"+gone+"/1", "{}")
		bob.syncUntil("count without what is redacted", func(r reply) bool { return unreadIn(r, room) == "0/0" })

		bob.must("PUT", v3+"/user/"+bob.user+"/account_data/m.ignored_user_list", object{"ignored_users": object{carol.user: object{}}})
		carol.say(room, "hey", "m.mentions", mention(bob))
		bob.must("PUT", v3+"/pushrules/global/room/"+room, object{"actions": []string{}})
		alice.say(room, "hey")
		bob.must("PUT", v3+"/pushrules/global/content/cake", object{"pattern": "CAKE", "actions": []any{"notify", object{"set_tweak": "highlight"}}})
		last = alice.say(room, "cake?")
		res := bob.syncUntil("the newest message", func(r reply) bool { return eventIn(r, room, last) })
		if unreadIn(res, room) != "1/1" {
			expect("by rules", "1/1")
		}

		bob.leave(room)
		alice.say(room, "bob?", "m.mentions", mention(bob))
		bob.join(room)
		bob.syncUntil("room anew", func(r reply) bool { return unreadIn(r, room) == "0/0" })
		if got := unreadIn(carol.sync(), room); got == "" || got == "0/0" {
			t.Errorf("somebody who reads nothing: %q", got)
		}
	})
}

// GET /notifications lists what notified a user, and whether it is read.
func TestNotifications(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		one := alice.say(room, "one")
		two := alice.say(room, "two", "m.mentions", mention(bob))
		three := alice.say(room, "three")
		// listed is the events of a page: "event read highlight"; next is the token.
		listed := func(query string) (events []string, next string) {
			t.Helper()
			res := bob.must("GET", v3+"/notifications"+query, nil)
			list, _ := res.at("notifications").([]any)
			for _, n := range list {
				n := n.(map[string]any)
				if n["room_id"] != room || n["ts"].(float64) < 1e12 {
					t.Errorf("%v", n)
				}
				event := n["event"].(map[string]any)
				events = append(events, fmt.Sprintf("%v %v %d", event["event_id"], n["read"], len(n["actions"].([]any))))
			}
			return events, res.field("next_token")
		}
		until := func(step, query string, want ...string) {
			t.Helper()
			var got []string
			for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				if got, _ = listed(query); same(got, want) {
					return
				}
			}
			t.Errorf("%s: %v, want %v", step, got, want)
		}
		until("all", "", three+" false 2", two+" false 3", one+" false 2")
		bob.read(room, "m.read", two, "")
		until("as far as read", "", three+" false 2", two+" true 3", one+" true 2")
		until("highlights", "?only=highlight", two+" true 3")
		page, next := listed("?limit=2")
		if !same(page, []string{three + " false 2", two + " true 3"}) || next == "" {
			t.Errorf("a page: %v %q", page, next)
		}
		if page, next = listed("?limit=2&from=" + next); !same(page, []string{one + " true 2"}) || next != "" {
			t.Errorf("the last page: %v %q", page, next)
		}
		alice.must("PUT", v3+"/rooms/"+room+"/redact/"+one+"/1", "{}")
		until("without what is redacted", "", three+" false 2", two+" true 3")
		for _, wrong := range []string{"?from=x", "?from=-1", "?limit=-1"} {
			bob.refused("GET", v3+"/notifications"+wrong, nil, 400, "M_INVALID_PARAM")
		}

		// An invite notifies, unless it is not wanted.
		carol := s.person("carol")
		room = carol.must("POST", v3+"/createRoom", object{"preset": "private_chat"}).field("room_id")
		carol.must("POST", v3+"/rooms/"+room+"/invite", object{"user_id": alice.user})
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
			res := alice.must("GET", v3+"/notifications", nil)
			if list, _ := res.at("notifications").([]any); len(list) == 1 && list[0].(map[string]any)["room_id"] == room {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no invite in %s", res.body)
			}
		}
		alice.join(room)
		alice.syncUntil("a room without anything unread", func(r reply) bool { return unreadIn(r, room) == "0/0" })
	})
}

// What sliding sync counts is what /sync counts.
func TestUnreadInSlidingSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		alice.say(room, "before", "m.mentions", mention(bob))
		pos := ""
		slide := func() string {
			t.Helper()
			path := "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=60000&pos=" + pos
			res := bob.must("POST", path, object{"lists": object{"all": object{"ranges": [][]int{{0, 10}}, "timeline_limit": 1, "required_state": []any{}}}})
			pos = res.field("pos")
			return fmt.Sprint(res.at("rooms", room, "notification_count"), "/", res.at("rooms", room, "highlight_count"))
		}
		var last string
		for _, step := range []struct {
			name, want string
			do         func()
		}{
			{"at first", "1/1", func() {}},
			{"a message", "2/1", func() { last = alice.say(room, "hello") }},
			{"all is read", "0/0", func() { bob.read(room, "m.read", last, "") }},
		} {
			step.do()
			if got := slide(); got != step.want {
				t.Errorf("%s: %s, want %s", step.name, got, step.want)
			}
		}
	})
}

// Counts are there after a restart, and what happened while nobody counted is
// counted then.
func TestUnreadAfterRestart(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		data := t.TempDir()
		keep := func(cfg *config.Config) { cfg.SigningKey = filepath.Join(data, "signing.key") }
		s := newWholeServer(t, url, keep)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		root := alice.say(room, "root")
		alice.say(room, "in it", "m.relates_to", thread(root), "m.mentions", mention(bob))
		bob.sync()
		s.close()
		s = newWholeServer(t, url, keep)
		alice.wholeServer, bob.wholeServer = s, s
		bob.since = ""
		if got := unreadIn(bob.sync("filter", threadFilter), room, root); got != "1/0 1/1" {
			t.Errorf("after a restart: %q", got)
		}
		alice.say(room, "more")
		if got := unreadIn(bob.sync(), room); got != "3/1" {
			t.Errorf("one more: %q", got)
		}
	})
}

// Threads that a user does not follow notify only by mentions, and those that
// it follows always, once the user has the rules for that.
func TestUnreadInFollowedThreads(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t))
	alice, bob := s.person("alice"), s.person("bob")
	const rules = v3 + "/pushrules/global/postcontent/"
	bob.refused("PUT", rules+"own", object{"actions": []string{}, "conditions": []any{}}, 400, "M_INVALID_PARAM")
	for _, rule := range []string{"subscribed_thread", "unsubscribed_thread"} {
		path := rules + ".io.element.msc4306.rule." + rule + "/enabled"
		if got := bob.must("GET", path, nil).field("enabled"); got != "false" {
			t.Errorf("%s: enabled is %s", rule, got)
		}
		bob.must("PUT", path, object{"enabled": true})
	}
	room := alice.room(bob)
	root := alice.say(room, "root")
	bob.sync() // it is counted, by the rules that he has had
	bob.must("PUT", v3+"/pushrules/global/room/"+room, object{"actions": []string{}})
	expect := func(step, want string) {
		t.Helper()
		if got := unreadIn(bob.sync("filter", threadFilter), room, root); got != want {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	alice.say(room, "in it", "m.relates_to", thread(root))
	expect("a thread of others", "1/0 ")
	alice.say(room, "in it", "m.relates_to", thread(root), "m.mentions", mention(bob))
	expect("a mention", "1/0 1/1")
	bob.must("PUT", subscriptionPath(room, root), object{})
	alice.say(room, "in it", "m.relates_to", thread(root))
	expect("a thread of one's own in a silent room", "1/0 2/1")
	alice.say(room, "outside")
	expect("the silent room", "1/0 2/1")
	bob.must("DELETE", subscriptionPath(room, root), nil)
	alice.say(room, "in it", "m.relates_to", thread(root))
	expect("a thread that was left", "1/0 2/1")
}

// What does not say whom it mentions is searched for names.
func TestLegacyMentions(t *testing.T) {
	for legacy, want := range map[bool]string{true: "5/2", false: "5/0"} {
		s := newWholeServer(t, testkit.SQLite(t), func(cfg *config.Config) { cfg.Accounts.LegacyMentions = legacy })
		alice, bob := s.person("alice"), s.person("bob")
		bob.must("PUT", v3+"/profile/"+bob.user+"/displayname", object{"displayname": "Robert"})
		room := alice.room(bob)
		bob.sync()
		for _, text := range []string{"hello bob", "hello robert", "hello bobby", "@rooms"} {
			alice.say(room, text)
		}
		alice.say(room, "bob and Robert", "m.mentions", object{})
		if got := unreadIn(bob.sync(), room); got != want {
			t.Errorf("legacy mentions %v: %q, want %q", legacy, got, want)
		}
	}
}
