package ircstory_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// patience bounds every wait: far more than anything takes on an idle machine.
const patience = 2 * time.Minute

// onBoth runs a test on each IRC server with each database.
func onBoth(t *testing.T, test func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle)) {
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		testkit.Databases(t, func(t *testing.T, url string) {
			test(t, irc, startTrestle(t, url, irc))
		})
	})
}

// inTurn runs a test on each IRC server, one with each database: for what has
// nothing to do with which of them come together.
func inTurn(t *testing.T, test func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle)) {
	turn := uint64(0)
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		database := testkit.EitherDatabase(t, turn)
		turn++
		test(t, irc, startTrestle(t, database, irc))
	})
}

// startTrestle runs a homeserver whose bundled bridge listens in #trestle.
func startTrestle(t *testing.T, database string, irc *testkit.IRCServer) *testkit.Trestle {
	t.Helper()
	options := testkit.TrestleOptions{}
	if filepath.Ext(database) == "" {
		options.Database = database
	}
	return startWith(t, options, fmt.Sprintf(`
        address: %s
        history: shared`, irc.Addr))
}

// startWith runs one with what is said of the network.
func startWith(t *testing.T, options testkit.TrestleOptions, network string) *testkit.Trestle {
	t.Helper()
	return startNetworks(t, options, fmt.Sprintf(`
      local:
        enabled: true%s
        channels: ["#trestle"]
        flood_burst: 1000
        flood_interval: 1ms
`, network))
}

// startNetworks runs one with what is said of networks.
func startNetworks(t *testing.T, options testkit.TrestleOptions, networks string) *testkit.Trestle {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	config := "server_name: localhost\nopen_registration: true\nbridges:\n  irc:\n    networks:" + networks
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	options.Data, options.Bridges = data, true
	return testkit.StartTrestle(t, options)
}

// A person is somebody with a Matrix client.
type person struct {
	*mautrix.Client
	t    *testing.T
	room id.RoomID

	mu      sync.Mutex
	changed chan struct{}
	seen    []*event.Event
}

// newPerson registers, and syncs until the test ends.
func newPerson(t *testing.T, trestle *testkit.Trestle, name string) *person {
	t.Helper()
	client, err := mautrix.NewClient(trestle.BaseURL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client = &http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport), Timeout: 2 * time.Minute}
	client.DefaultHTTPRetries = 0
	res, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	client.UserID, client.AccessToken = res.UserID, res.AccessToken
	client.DeviceID = res.DeviceID
	p := &person{Client: client, t: t, changed: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	var syncing sync.WaitGroup
	syncing.Go(func() { p.sync(ctx) })
	t.Cleanup(func() {
		stop()
		syncing.Wait()
	})
	return p
}

// sync collects what happens in all rooms. A server that is down is asked again.
func (p *person) sync(ctx context.Context) {
	since := ""
	for ctx.Err() == nil {
		res, err := p.FullSyncRequest(ctx, mautrix.ReqSync{Since: since, Timeout: 5000})
		if err != nil {
			again := time.NewTimer(20 * time.Millisecond)
			select {
			case <-again.C:
			case <-ctx.Done():
			}
			continue
		}
		news := map[id.RoomID][]*event.Event{}
		for room, joined := range res.Rooms.Join {
			if joined.Timeline.Limited && since != "" {
				if news[room], err = p.gap(ctx, room, since, joined.Timeline.PrevBatch); err != nil {
					break
				}
			}
			news[room] = append(news[room], joined.Timeline.Events...)
		}
		for room, left := range res.Rooms.Leave {
			news[room] = append(news[room], left.Timeline.Events...)
		}
		if err != nil {
			continue // the same again
		}
		since = res.NextBatch
		p.mu.Lock()
		for room, events := range news {
			for _, e := range events {
				e.RoomID = room
				p.seen = append(p.seen, e)
			}
		}
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// gap is what a sync has left out because it was too much for one answer.
func (p *person) gap(ctx context.Context, room id.RoomID, since, upTo string) (events []*event.Event, err error) {
	for from := since; ; {
		page, err := p.Messages(ctx, room, from, upTo, mautrix.DirectionForward, nil, 100)
		if err != nil {
			return nil, err
		}
		events = append(events, page.Chunk...)
		if page.End == "" || len(page.Chunk) == 0 {
			return events, nil
		}
		from = page.End
	}
}

// until waits for an event and returns the first that matches.
func (p *person) until(what string, match func(e *event.Event) bool) *event.Event {
	p.t.Helper()
	deadline := time.After(patience)
	for from := 0; ; {
		p.mu.Lock()
		events, changed := p.seen[from:], p.changed
		from = len(p.seen)
		p.mu.Unlock()
		for _, e := range events {
			if match(e) {
				return e
			}
		}
		select {
		case <-changed:
		case <-deadline:
			p.t.Fatalf("%s does not see %s", p.UserID, what)
		}
	}
}

// hears waits for a message.
func (p *person) hears(sender id.UserID, msgtype, body string) *event.Event {
	p.t.Helper()
	return p.until(fmt.Sprintf("%s say %q", sender, body), func(e *event.Event) bool {
		return e.Sender == sender && e.Type.Type == "m.room.message" && e.Content.Raw["msgtype"] == msgtype && e.Content.Raw["body"] == body
	})
}

// sees waits for a membership.
func (p *person) sees(user id.UserID, membership string) *event.Event {
	p.t.Helper()
	return p.until(fmt.Sprintf("%s %s", user, membership), func(e *event.Event) bool {
		return e.Type.Type == "m.room.member" && e.GetStateKey() == string(user) && e.Content.Raw["membership"] == membership
	})
}

// joins joins the channel by its alias.
func (p *person) joins(alias string) {
	p.t.Helper()
	res, err := p.JoinRoom(p.t.Context(), alias, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.room = res.RoomID
}

// says sends a message under a transaction ID until the server has taken it.
func (p *person) says(txn string, content map[string]any) id.EventID {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		sent, err := p.SendMessageEvent(ctx, p.room, event.EventMessage, content, mautrix.ReqSendEvent{TransactionID: txn})
		if err == nil {
			return sent.EventID
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			p.t.Fatalf("the server does not take %s: %v", txn, err)
		}
	}
}

func text(body string) map[string]any { return map[string]any{"msgtype": "m.text", "body": body} }
