package clientapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// send sends a message to devices: user and device, or "*", alternate.
func (d *device) send(txn, text string, to ...string) {
	d.t.Helper()
	messages := map[string]object{}
	for i := 0; i < len(to); i += 2 {
		if messages[to[i]] == nil {
			messages[to[i]] = object{}
		}
		messages[to[i]][to[i+1]] = object{"text": text}
	}
	d.must("PUT", v3+"/sendToDevice/test/"+txn, object{"messages": messages})
}

// received is the texts of the messages in a /sync.
func received(r reply) []string {
	list, _ := r.at("to_device", "events").([]any)
	texts := []string{}
	for _, e := range list {
		event := e.(map[string]any)
		texts = append(texts, fmt.Sprintf("%v %v %v", event["sender"], event["type"], event["content"].(map[string]any)["text"]))
	}
	return texts
}

func (d *device) expectMessages(when string, want ...string) {
	d.t.Helper()
	if got := received(d.sync()); !same(got, append([]string{}, want...)) {
		d.t.Errorf("%s: %s got %v, want %v", when, d.id, got, want)
	}
}

func TestToDevice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		phone := bob.another("PHONE")
		for _, d := range []*device{bob, phone} {
			d.sync()
		}
		const from = "@alice:hs.example test "

		alice.send("1", "one", bob.user, "BOB")
		alice.send("1", "one", bob.user, "BOB")
		alice.send("2", "two", bob.user, "*", bob.user, "BOB", bob.user, "GONE", "@nobody:hs.example", "*", "@x:elsewhere", "*")
		// An answer that got lost is given again.
		before := bob.since
		bob.expectMessages("first", from+"one", from+"two")
		bob.since = before
		bob.expectMessages("again", from+"one", from+"two")
		bob.expectMessages("then")
		phone.expectMessages("to all devices", from+"two")

		// What was received is gone, even for a sync from the beginning.
		bob.sync()
		eventually(t, "the messages are deleted", func() bool {
			bob.since = ""
			return len(received(bob.sync())) == 0
		})
		// The same transaction of another device is another one.
		alice.another("TABLET").send("2", "three", bob.user, "BOB")
		bob.expectMessages("from a tablet", from+"three")
	})
}

// eventually tries until something is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestToDeviceWakes(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		bob.sync()
		var sending sync.WaitGroup
		sending.Go(func() { alice.send("1", "wake up", bob.user, "BOB") })
		bob.syncUntil("message", func(r reply) bool { return len(received(r)) == 1 })
		sending.Wait()
	})
}

func TestManyToDevice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		for i := range 230 {
			alice.send(fmt.Sprint(i), fmt.Sprint(i), bob.user, "BOB")
		}
		next := 0
		for _, want := range []int{100, 100, 30, 0} {
			got := received(bob.sync())
			if len(got) != want {
				t.Fatalf("%d messages in one sync, want %d", len(got), want)
			}
			for _, text := range got {
				if text != fmt.Sprintf("@alice:hs.example test %d", next) {
					t.Fatalf("message %d is %s", next, text)
				}
				next++
			}
		}
	})
}

func TestToDeviceOfLoggedOut(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		alice.send("1", "one", bob.user, "BOB")
		bob.must("POST", v3+"/logout", "{}")
		alice.send("2", "two", bob.user, "BOB")
		bob.another("BOB").expectMessages("a new login with the old ID")
	})
}

func TestToDeviceRefuses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		const path = v3 + "/sendToDevice/test/1"
		alice.refused("PUT", path, `{}`, 400, "M_MISSING_PARAM")
		alice.refused("PUT", path, `{"messages":[]}`, 400, "M_BAD_JSON")
		alice.refused("PUT", path, `{"messages":{"@a:b":[]}}`, 400, "M_BAD_JSON")
		alice.refused("PUT", path, `{"messages":{"@a:b":{"D":1}}}`, 400, "M_BAD_JSON")
		alice.refused("PUT", path, `{"messages":{"@a:b":{"D":null}}}`, 400, "M_BAD_JSON")
		alice.refused("PUT", path, `{"messages":{"a":{"D":{}}}}`, 400, "M_INVALID_PARAM")
		alice.refused("PUT", path, object{"messages": object{"@a:b": object{strings.Repeat("D", 300): object{}}}}, 400, "M_INVALID_PARAM")
		alice.refused("PUT", path, object{"messages": object{"@a:b": object{"D": object{"x": strings.Repeat("x", 70_000)}}}}, 413, "M_TOO_LARGE")
		many := object{}
		for i := range 10_001 {
			many[fmt.Sprint(i)] = object{}
		}
		alice.refused("PUT", path, object{"messages": object{"@a:b": many}}, 413, "M_TOO_LARGE")
		alice.refused("PUT", path, `{"messages":{"@a:b":{"\u0000":{}}}}`, 400, "M_BAD_JSON")
		alice.refused("PUT", v3+"/sendToDevice/"+strings.Repeat("t", 300)+"/1", `{"messages":{}}`, 400, "M_INVALID_PARAM")
		alice.must("PUT", path, `{"messages":{}}`)
	})
}
