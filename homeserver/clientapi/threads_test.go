package clientapi_test

import (
	"net/url"
	"testing"

	"trestle/internal/testkit"
)

func subscriptionPath(room, root string) string {
	return "/_matrix/client/unstable/io.element.msc4306/rooms/" + room + "/thread/" + root + "/subscription"
}

// follows is how a user follows a thread: by itself, automatically, or not.
func (d *device) follows(room, root string) string {
	d.t.Helper()
	switch r := d.do("GET", subscriptionPath(room, root), nil); {
	case r.status == 404 && r.field("errcode") == "M_NOT_FOUND":
		return "no"
	case r.status == 200 && same(r.at(), object{"automatic": true}):
		return "automatic"
	case r.status == 200 && same(r.at(), object{"automatic": false}):
		return "manual"
	default:
		return r.body
	}
}

func TestThreadSubscriptions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room()
		root, other := alice.say(room, "root"), alice.say(room, "other")
		reply := func() string { return alice.say(room, "reply", "m.relates_to", thread(root)) }
		path := subscriptionPath(room, root)
		expect := func(step, want string) {
			t.Helper()
			if got := alice.follows(room, root); got != want {
				t.Errorf("%s: %s, want %s", step, got, want)
			}
		}
		const inThread, conflict = "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
		expect("at first", "no")
		alice.must("DELETE", path, nil)
		alice.refused("PUT", path, object{"automatic": root}, 400, inThread)
		alice.refused("PUT", path, object{"automatic": other}, 400, inThread)
		alice.refused("PUT", path, object{"automatic": "$unknown"}, 400, inThread)
		alice.refused("PUT", path, object{"automatic": alice.say(room, "elsewhere", "m.relates_to", thread(other))}, 400, inThread)
		alice.refused("PUT", path, object{"automatic": true}, 400, "M_BAD_JSON")
		first := reply()
		alice.must("PUT", path, object{"automatic": first})
		expect("by a client", "automatic")
		alice.must("PUT", path, object{})
		expect("by hand", "manual")
		alice.must("PUT", path, object{"automatic": first})
		expect("by a client again", "manual")

		second := reply()
		alice.must("DELETE", path, nil)
		expect("after leaving", "no")
		third := reply()
		alice.refused("PUT", path, object{"automatic": first}, 409, conflict)
		alice.refused("PUT", path, object{"automatic": second}, 409, conflict)
		expect("after what was before", "no")
		alice.must("PUT", path, object{"automatic": third})
		expect("after what came later", "automatic")

		for _, d := range []struct {
			who        *device
			room, root string
		}{{alice, room, "$unknown:hs.example"}, {alice, room, first}, {bob, room, root}, {alice, "!unknown:hs.example", root}} {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				d.who.refused(method, subscriptionPath(d.room, d.root), map[string]any{"PUT": object{}}[method], 404, "M_NOT_FOUND")
			}
		}
	})
}

const subscriptionsExtension = "io.element.msc4308.thread_subscriptions"

// subscribed is the threads in an answer of sliding sync, or in a page.
func subscribedIn(r reply, room string, path ...string) (on, off map[string]any) {
	on, _ = r.at(append(path, "subscribed", room)...).(map[string]any)
	off, _ = r.at(append(path, "unsubscribed", room)...).(map[string]any)
	return on, off
}

// Sliding sync tells what has changed of the threads that a user follows, and
// the rest is asked for in pages.
func TestThreadSubscriptionsInSlidingSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		room := alice.room()
		var roots []string
		for range 4 {
			roots = append(roots, alice.say(room, "root"))
		}
		pos := ""
		slide := func() (on, off map[string]any, res reply) {
			t.Helper()
			body := object{"extensions": object{subscriptionsExtension: object{"enabled": true, "limit": 2}}}
			path := "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
			if pos != "" {
				path += "?timeout=60000&pos=" + pos
			}
			res = alice.must("POST", path, body)
			pos = res.field("pos")
			on, off = subscribedIn(res, room, "extensions", subscriptionsExtension)
			return on, off, res
		}
		if on, off, _ := slide(); len(on)+len(off) > 0 {
			t.Errorf("at first: %v and %v", on, off)
		}
		start := pos
		alice.must("PUT", subscriptionPath(room, roots[0]), object{})
		on, off, _ := slide()
		if one, _ := on[roots[0]].(map[string]any); len(on) != 1 || len(off) > 0 || one["automatic"] != false || one["bump_stamp"] == nil {
			t.Errorf("one thread: %v and %v", on, off)
		}
		for _, root := range roots[1:] {
			alice.must("PUT", subscriptionPath(room, root), object{})
		}
		alice.must("DELETE", subscriptionPath(room, roots[0]), nil)
		on, off, res := slide()
		if len(on) != 1 || len(off) != 1 || on[roots[3]] == nil || off[roots[0]] == nil {
			t.Errorf("the last two of four: %v and %v", on, off)
		}
		batch, _ := res.at("extensions", subscriptionsExtension, "prev_batch").(string)
		page := alice.must("GET", subscriptions(params{"dir": "b", "from": batch, "to": start, "limit": "1"}), nil)
		if on, off := subscribedIn(page, room); len(on) != 1 || len(off) > 0 || on[roots[2]] == nil || page.field("end") == "" {
			t.Errorf("a page: %s", page.body)
		}
		page = alice.must("GET", subscriptions(params{"dir": "b", "from": page.field("end"), "to": start}), nil)
		if on, _ := subscribedIn(page, room); len(on) != 1 || on[roots[1]] == nil || page.at("end") != nil {
			t.Errorf("the last page: %s", page.body)
		}
		all := alice.must("GET", subscriptions(params{"dir": "b"}), nil)
		if on, off := subscribedIn(all, room); len(on) != 3 || len(off) != 1 {
			t.Errorf("everything: %s", all.body)
		}
		for _, wrong := range []params{{"dir": "f"}, {}, {"dir": "b", "limit": "0"}, {"dir": "b", "from": "x"}, {"dir": "b", "to": "x"}} {
			if r := alice.do("GET", subscriptions(wrong), nil); r.status != 400 {
				t.Errorf("%v: %d %s", wrong, r.status, r.body)
			}
		}
	})
}

type params map[string]string

func subscriptions(given params) string {
	q := url.Values{}
	for name, value := range given {
		q.Set(name, value)
	}
	return "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions?" + q.Encode()
}
