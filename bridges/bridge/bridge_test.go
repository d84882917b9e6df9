package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/migrations"
)

// poison is a message with which nobody has reckoned.
const poison = "poison"

const bot = "@" + fakehomeserver.Sender + ":" + fakehomeserver.ServerName

// net is a network that has channels by the name of "#c" and nothing else.
type net struct {
	bridge *bridge.Bridge
	events chan *client.Event
}

func (n *net) Ghost(user matrix.UserID) (bridge.Ghost, bool) {
	name, ok := strings.CutPrefix(user.Localpart(), "net_")
	return ghost(name), ok
}

func ghost(name string) bridge.Ghost {
	return bridge.Ghost{ID: matrix.NewUserID("net_"+name, fakehomeserver.ServerName), Name: name}
}

func (n *net) HandleEvent(_ context.Context, _ *bridge.Portal, e *client.Event, done func()) {
	if e.Content.Raw["body"] == poison {
		panic("nobody has reckoned with that")
	}
	done()
	n.events <- e
}

func (n *net) QueryAlias(ctx context.Context, alias matrix.RoomAlias) error {
	if alias != "#net_c:localhost" {
		return matrix.NotFound("No such channel.")
	}
	p, err := n.bridge.Portal(ctx, key, "#c")
	if err != nil {
		return err
	}
	return p.CreateRoom(ctx, bridge.RoomSpec{Alias: alias, Name: "#c", Topic: "first"})
}

var key = bridge.Key{Network: "net", Channel: "#c"}

// start runs a bridge beside a homeserver until stop is called.
func start(t *testing.T, h *fakehomeserver.Homeserver, url string) (n *net, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := database.Open(context.Background(), url, migrations.Bridges, database.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(client.Config{
		HomeserverURL: h.URL, ServerName: fakehomeserver.ServerName, ASToken: fakehomeserver.ASToken, SenderLocal: fakehomeserver.Sender,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n = &net{events: make(chan *client.Event, 1000)}
	inbox := client.NewInbox(db, log)
	n.bridge, err = bridge.New(ctx, bridge.Options{
		Client: api, Inbox: inbox, DB: db, Remote: n, Prefix: "!net", Logger: log,
		Commands: []bridge.Command{{Name: "echo", Args: "WORDS", Help: "says them", Run: func(_ context.Context, call *bridge.Call) (string, error) {
			if len(call.Args) == 0 {
				return "", matrix.MissingParam("Say something.")
			}
			return strings.Join(call.Args, " "), nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := client.Listener{HSToken: fakehomeserver.HSToken, Inbox: inbox, Queries: n.bridge, Logger: log}
	server := httptest.NewServer(listener.Handler())
	ended := make(chan error, 1)
	go func() { ended <- n.bridge.Run(ctx) }()
	h.SetService(server.URL)
	stop = sync.OnceFunc(func() {
		h.SetService("")
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		db.Close()
	})
	t.Cleanup(stop)
	return n, stop
}

func say(p *bridge.Portal, who, text string, at time.Time) {
	p.Say(bridge.Message{
		Sender: ghost(who), Content: map[string]string{"msgtype": "m.text", "body": text}, Time: at, Excerpt: text,
	}, nil)
}

func portal(t *testing.T, n *net) *bridge.Portal {
	t.Helper()
	p, err := n.bridge.Portal(context.Background(), key, "#c")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func join(t *testing.T, h *fakehomeserver.Homeserver, user string) string {
	t.Helper()
	h.Register(user, "Alice")
	room, refusal := h.Join(user, "#net_c:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	return room
}

// eventually waits for something that nobody tells.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); !true(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func isMessage(e fakehomeserver.Event) bool { return e.Type == "m.room.message" }

func TestWhatWasSaidBeforeTheRoomIsThereAsScrollback(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		h := fakehomeserver.New(t)
		n, stop := start(t, h, url)
		p := portal(t, n)
		then := time.UnixMilli(1421416883133)
		for i := range 20 {
			say(p, "bob", fmt.Sprint("line ", i), then.Add(time.Duration(i)*time.Second))
		}
		stored := make(chan struct{})
		n.bridge.Stored(func() { close(stored) })
		<-stored
		if err := p.Trim(context.Background(), 5); err != nil {
			t.Fatal(err)
		}
		stop() // the log survives the bridge
		n, _ = start(t, h, url)
		room := join(t, h, "@alice:localhost")
		got := h.WaitN(room, "scrollback", 5, isMessage)
		for i, e := range got {
			if e.Body() != fmt.Sprint("line ", 15+i) || e.Time != then.UnixMilli()+int64(15+i)*1000 || e.Sender != "@net_bob:localhost" {
				t.Errorf("line %d is %s at %d by %s", i, e.Content, e.Time, e.Sender)
			}
		}
		if e := h.WaitMembership(room, "@net_bob:localhost", "join"); !strings.Contains(string(e.Content), `"displayname":"bob"`) {
			t.Errorf("bob came as %s", e.Content)
		}
		eventually(t, "the message is remembered", func() bool {
			sent, _, err := portal(t, n).Message(context.Background(), matrix.EventID(got[4].ID))
			return err == nil && sent.Sender == "@net_bob:localhost" && sent.Excerpt == "line 19"
		})
	})
}

func TestNothingIsLostOrDoubledWhileTheHomeserverIsAway(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		h := fakehomeserver.New(t)
		n, stop := start(t, h, url)
		room := join(t, h, "@alice:localhost")
		p := portal(t, n)
		p.Join(ghost("bob"))
		h.WaitMembership(room, "@net_bob:localhost", "join")
		const many = 300
		for i := range many {
			switch i {
			case 50: // answers get lost: each is a repeat under the same transaction ID
				h.Fail(3)
			case 100:
				h.SetDown(true)
			case 200:
				stop()
				n, stop = start(t, h, url)
				p = portal(t, n)
			case 250:
				h.SetDown(false)
			}
			say(p, "bob", fmt.Sprint(i), time.Now())
		}
		got := h.WaitN(room, "messages", many, isMessage)
		for i, e := range got {
			if e.Body() != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, e.Content)
			}
		}
		if len(got) != many {
			t.Errorf("%d messages", len(got))
		}
	})
}

func TestMembership(t *testing.T) {
	h := fakehomeserver.New(t)
	n, _ := start(t, h, t.TempDir()+"/db")
	room := join(t, h, "@alice:localhost")
	p := portal(t, n)
	var everybody []bridge.Ghost
	for i := range 50 {
		everybody = append(everybody, ghost(fmt.Sprint("n", i)))
	}
	p.SetMembers(everybody, false)
	for _, g := range everybody {
		h.WaitMembership(room, string(g.ID), "join")
	}
	// Half of them go away while the network was not seen.
	p.SetMembers(everybody[:25], false)
	for _, g := range everybody[25:] {
		h.WaitMembership(room, string(g.ID), "leave")
	}
	// Who says something and leaves does so in that order, with the reason.
	for i := range 10 {
		say(p, "n0", fmt.Sprint("bye ", i), time.Now())
	}
	p.Leave(everybody[0], "gone fishing")
	if e := h.WaitMembership(room, string(everybody[0].ID), "leave"); e.Reason() != "gone fishing" {
		t.Errorf("left with %s", e.Content)
	}
	if got := len(h.Events(room, isMessage)); got != 10 {
		t.Errorf("left after %d of 10 messages", got)
	}
	// Who is not in the channel and speaks all the same goes again.
	say(p, "passerby", "hello", time.Now())
	h.WaitBody(room, "@net_passerby:localhost", "hello")
	h.WaitMembership(room, "@net_passerby:localhost", "leave")
	eventually(t, "24 ghosts are left", func() bool { return len(p.Ghosts()) == 24 })
}

func TestInALazyRoomPeopleComeWhenTheySpeak(t *testing.T) {
	h := fakehomeserver.New(t)
	n, _ := start(t, h, t.TempDir()+"/db")
	room := join(t, h, "@alice:localhost")
	p := portal(t, n)
	p.SetMembers([]bridge.Ghost{ghost("talker"), ghost("lurker")}, true)
	p.Join(ghost("late"))
	say(p, "talker", "hello", time.Now())
	h.WaitBody(room, "@net_talker:localhost", "hello")
	say(p, "passerby", "and bye", time.Now())
	h.WaitMembership(room, "@net_passerby:localhost", "join")
	h.WaitMembership(room, "@net_passerby:localhost", "leave")
	for who, want := range map[string]string{"talker": "join", "lurker": "leave", "late": "leave"} {
		if got := h.Membership(room, "@net_"+who+":localhost"); got != want {
			t.Errorf("%s: %s, want %s", who, got, want)
		}
	}
	p.Leave(ghost("talker"), "bye")
	h.WaitMembership(room, "@net_talker:localhost", "leave")
}

func TestEventsReachTheNetworkButNotItsOwn(t *testing.T) {
	h := fakehomeserver.New(t)
	n, _ := start(t, h, t.TempDir()+"/db")
	room := join(t, h, "@alice:localhost")
	p := portal(t, n)
	say(p, "bob", "hi alice", time.Now())
	h.WaitBody(room, "", "hi alice")
	h.Say(room, "@alice:localhost", "hi bob")
	var got []string
	for len(got) < 2 {
		select {
		case e := <-n.events:
			got = append(got, fmt.Sprintf("%s %s", e.Sender, e.Type.Type))
		case <-time.After(2 * time.Minute):
			t.Fatalf("only %v", got)
		}
	}
	want := []string{"@alice:localhost m.room.member", "@alice:localhost m.room.message"}
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if people := p.People(); people["@alice:localhost"] != "Alice" || len(people) != 1 {
		t.Errorf("people: %v", people)
	}
	p.SetTopic("second", time.Now())
	h.Wait(room, "the topic", func(e fakehomeserver.Event) bool {
		return e.Type == "m.room.topic" && strings.Contains(string(e.Content), "second")
	})
	p.Remove("@alice:localhost", "Kicked by bob")
	if e := h.WaitMembership(room, "@alice:localhost", "leave"); e.Reason() != "Kicked by bob" || e.Sender != bot {
		t.Errorf("removed with %s by %s", e.Content, e.Sender)
	}
}

func TestQueriesAndUnfinishedRooms(t *testing.T) {
	h := fakehomeserver.New(t)
	n, stop := start(t, h, t.TempDir()+"/db")
	ctx := context.Background()
	if err := n.bridge.QueryUser(ctx, "@net_carol:localhost"); err != nil {
		t.Error(err)
	}
	if err := n.bridge.QueryUser(ctx, "@carol:localhost"); matrix.Code(err) != "M_NOT_FOUND" {
		t.Errorf("foreign user: %v", err)
	}
	h.Register("@alice:localhost", "Alice")
	if _, refusal := h.Join("@alice:localhost", "#net_d:localhost"); !strings.Contains(refusal, "No such channel") {
		t.Errorf("refusal %q", refusal)
	}
	// The room is created, but the bridge never hears of it.
	h.FailCreation()
	if _, refusal := h.Join("@alice:localhost", "#net_c:localhost"); refusal == "" {
		t.Error("the first attempt works")
	}
	room := join(t, h, "@alice:localhost") // straight from the directory
	h.Say(room, "@alice:localhost", "anybody?")
	for e := range n.events {
		if e.Type.Type == "m.room.message" {
			break
		}
	}
	if got := portal(t, n).Room(); string(got) != room {
		t.Errorf("the portal's room is %q, not %q", got, room)
	}
	stop()
}

func TestCommands(t *testing.T) {
	h := fakehomeserver.New(t)
	start(t, h, t.TempDir()+"/db")
	h.Register("@alice:localhost", "Alice")
	direct := h.Direct("@alice:localhost")
	h.WaitMembership(direct, bot, "join")
	answer := func(room, command, want string) {
		t.Helper()
		h.Say(room, "@alice:localhost", command)
		h.Wait(room, "answer to "+command, func(e fakehomeserver.Event) bool {
			return e.Sender == bot && isMessage(e) && strings.Contains(e.Body(), want)
		})
	}
	answer(direct, "help", "echo WORDS – says them")
	answer(direct, "echo one  two", "one two")
	answer(direct, "echo", "Say something.")
	answer(direct, "nonsense", "no command “nonsense”")
	room := join(t, h, "@alice:localhost")
	answer(room, "!net echo in the room", "in the room")
}

func TestStatements(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(context.Background(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := database.CheckStatements(context.Background(), db); err != nil {
			t.Fatal(err)
		}
	})
}
