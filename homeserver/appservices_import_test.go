package homeserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// An importer is a service with a room that alice is in.
type importer struct {
	*service
	bot, alice *mautrix.Client
	room       id.RoomID
	since      string // of alice's last sync
}

func newImporter(t *testing.T, database string) *importer {
	t.Helper()
	s := withService(t, database)
	i := &importer{service: s, bot: unjudgedService(t, s.register("ircbot")), alice: login(t, s.base, "alice")}
	s.register("irc_bob")
	s.register("irc_eve")
	made, err := i.bot.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{i.alice.UserID}})
	if err != nil {
		t.Fatal(err)
	}
	i.room = made.RoomID
	if _, err := i.alice.JoinRoomByID(t.Context(), i.room); err != nil {
		t.Fatal(err)
	}
	i.sync()
	return i
}

func unjudgedService(t *testing.T, client *mautrix.Client) *mautrix.Client {
	t.Helper()
	other := unjudged(t, client)
	other.SetAppServiceUserID = true
	return other
}

// past is what irc_bob said at a time; named gives it an ID.
func past(body string, ts int64, named bool) *event.Event {
	e := &event.Event{
		Sender: "@irc_bob:test", Type: event.EventMessage, Timestamp: ts,
		Content: event.Content{Parsed: &event.MessageEventContent{MsgType: event.MsgText, Body: body}},
	}
	if named {
		e.ID = id.EventID("$" + body + ":irc.example")
	}
	return e
}

func (i *importer) imports(req *mautrix.ReqBeeperBatchSend) []id.EventID {
	i.t.Helper()
	res, err := i.bot.BeeperBatchSend(i.t.Context(), i.room, req)
	if err != nil {
		i.t.Fatal(err)
	}
	return res.EventIDs
}

func (i *importer) refused(what, code string, req *mautrix.ReqBeeperBatchSend) {
	i.t.Helper()
	_, err := i.bot.BeeperBatchSend(i.t.Context(), i.room, req)
	wantCode(i.t, err, code)
	if err == nil {
		i.t.Errorf("imported: %s", what)
	}
}

func (i *importer) sync() *mautrix.RespSync {
	i.t.Helper()
	res, err := i.alice.SyncRequest(i.t.Context(), 0, i.since, "", false, "")
	if err != nil {
		i.t.Fatal(err)
	}
	i.since = res.NextBatch
	return res
}

// bodiesOf is the bodies of messages, "create" for the creation and nothing of other state.
func bodiesOf(events []*event.Event) []string {
	var list []string
	for _, e := range events {
		if e.Type.Type == "m.room.create" {
			list = append(list, "create")
		} else if body, ok := e.Content.Raw["body"].(string); ok {
			list = append(list, body)
		}
	}
	return list
}

// history is all messages of the room by /messages in pages of three.
func (i *importer) history(dir mautrix.Direction) []string {
	i.t.Helper()
	var all []string
	from := ""
	for range 30 {
		page, err := i.alice.Messages(i.t.Context(), i.room, from, "", dir, nil, 3)
		if err != nil {
			i.t.Fatal(err)
		}
		all = append(all, bodiesOf(page.Chunk)...)
		if len(page.Chunk) == 0 || page.End == "" {
			return all
		}
		from = page.End
	}
	i.t.Fatal("the history has no end")
	return nil
}

func (i *importer) wantHistory(want ...string) {
	i.t.Helper()
	if got := i.history(mautrix.DirectionForward); !slices.Equal(got, want) {
		i.t.Errorf("forward: %q, want %q", got, want)
	}
	want = slices.Clone(want)
	slices.Reverse(want)
	if got := i.history(mautrix.DirectionBackward); !slices.Equal(got, want) {
		i.t.Errorf("backward: %q, want %q", got, want)
	}
}

func wantIDs(t *testing.T, got []id.EventID, want ...id.EventID) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("IDs %q, want %q", got, want)
	}
}

// A bridge puts the past into a room: first behind what is there, then before
// it, in the order and with the times of the other network.
func TestBridgesImportHistory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := newImporter(t, database)
		versions, err := i.bot.Versions(t.Context())
		if err != nil || !versions.Supports(mautrix.BeeperFeatureBatchSending) {
			t.Errorf("bridges do not see that they can import: %v", err)
		}
		first := &mautrix.ReqBeeperBatchSend{ForwardIfNoMessages: true, Events: []*event.Event{past("c1", 3000, true), past("c2", 3500, true)}}
		wantIDs(t, i.imports(first), "$c1:irc.example", "$c2:irc.example")
		got := i.sync().Rooms.Join[i.room]
		if said := bodiesOf(got.Timeline.Events); !slices.Equal(said, []string{"c1", "c2"}) || got.Timeline.Events[0].Timestamp != 3000 {
			t.Errorf("a sync has %q", said)
		}
		if n := got.UnreadNotifications; n != nil && n.NotificationCount != 0 {
			t.Errorf("%d imported messages count as unread", n.NotificationCount)
		}
		if _, err := i.alice.SendText(t.Context(), i.room, "live"); err != nil {
			t.Fatal(err)
		}
		i.sync()

		second := &mautrix.ReqBeeperBatchSend{ForwardIfNoMessages: true, Events: []*event.Event{past("b1", 2000, true), past("b2", 2000, false), past("b2", 2000, false)}}
		made := i.imports(second)
		third := &mautrix.ReqBeeperBatchSend{ForwardIfNoMessages: true, Events: []*event.Event{past("a1", 1000, true), past("a2", 1500, false)}}
		i.imports(third)
		if news, ok := i.sync().Rooms.Join[i.room]; ok {
			t.Errorf("a sync has history: %q", bodiesOf(news.Timeline.Events))
		}
		whole := []string{"a1", "a2", "b1", "b2", "b2", "create", "c1", "c2", "live"}
		i.wantHistory(whole...)
		i.isThere(made[1])

		// Repeats change nothing, and what is new in them goes in.
		i.imports(first)
		i.imports(third)
		wantIDs(t, i.imports(second), made...)
		third.Events = append([]*event.Event{past("older", 500, true)}, third.Events...)
		i.imports(third)
		i.wantHistory(append([]string{"older"}, whole...)...)

		i.startsAnew()
		i.isHeard()
	})
}

// isThere looks at one event of the past.
func (i *importer) isThere(made id.EventID) {
	i.t.Helper()
	around, err := i.alice.Context(i.t.Context(), i.room, made, nil, 4)
	if err != nil {
		i.t.Fatal(err)
	}
	before, after := bodiesOf(around.EventsBefore), bodiesOf(around.EventsAfter)
	if !slices.Equal(before, []string{"b1", "a2"}) || !slices.Equal(after, []string{"b2", "create"}) {
		i.t.Errorf("around it %q and %q", before, after)
	}
	one, err := i.alice.GetEvent(i.t.Context(), i.room, "$b1:irc.example")
	if err != nil || one.Timestamp != 2000 || one.Sender != "@irc_bob:test" || one.ID != "$b1:irc.example" {
		i.t.Errorf("%+v, %v", one, err)
	}
	near, err := i.alice.TimestampToEvent(i.t.Context(), i.room, time.UnixMilli(1900), mautrix.DirectionForward)
	if err != nil || near.EventID != "$b1:irc.example" {
		i.t.Errorf("after 1.9 s is %v, %v", near, err)
	}
}

// startsAnew has a client come that has seen nothing: it finds the past by
// looking back from where its timeline begins.
func (i *importer) startsAnew() {
	i.t.Helper()
	i.since = ""
	room := i.sync().Rooms.Join[i.room]
	if said := bodiesOf(room.Timeline.Events); slices.Contains(said, "b2") {
		i.t.Errorf("a first sync has history: %q", said)
	}
	page, err := i.alice.Messages(i.t.Context(), i.room, room.Timeline.PrevBatch, "", mautrix.DirectionBackward, nil, 50)
	if err != nil {
		i.t.Fatal(err)
	}
	if said := bodiesOf(page.Chunk); len(said) < 6 || said[len(said)-1] != "older" {
		i.t.Errorf("behind it is %q", said)
	}
}

// isHeard looks at what the service was sent: news, and no history.
func (i *importer) isHeard() {
	i.t.Helper()
	i.untilBody("live")
	if _, err := i.alice.SendText(i.t.Context(), i.room, "the end"); err != nil {
		i.t.Fatal(err)
	}
	i.untilBody("the end")
	all := ""
	for _, e := range i.Events() {
		all += string(e)
	}
	if !strings.Contains(all, "$c1:irc.example") || strings.Contains(all, "$a1:irc.example") {
		i.t.Error("the service heard of the wrong events")
	}
}

// What is imported can be reacted to, redacted and read, and notifies if that is wanted.
func TestImportedEventsAreEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := newImporter(t, database)
		liked := &event.Event{Sender: "@irc_eve:test", Type: event.EventReaction, Timestamp: 1001, Content: event.Content{Parsed: &event.ReactionEventContent{
			RelatesTo: event.RelatesTo{Type: event.RelAnnotation, EventID: "$a:irc.example", Key: "+"},
		}}}
		edit := past("* edited", 1002, false)
		content := edit.Content.Parsed.(*event.MessageEventContent)
		content.NewContent = &event.MessageEventContent{MsgType: event.MsgText, Body: "edited"}
		content.RelatesTo = &event.RelatesTo{Type: event.RelReplace, EventID: "$a:irc.example"}
		i.imports(&mautrix.ReqBeeperBatchSend{Events: []*event.Event{past("a", 1000, true), liked, edit, past("b", 1003, true)}})
		status, one := requestRaw(t, i.alice, "GET", "/_matrix/client/v3/rooms/"+url.PathEscape(string(i.room))+"/event/$a:irc.example", nil, nil)
		if status != 200 || !strings.Contains(string(one), `"body":"edited"`) {
			t.Errorf("%d %s", status, one)
		}
		if _, err := i.bot.RedactEvent(t.Context(), i.room, "$b:irc.example"); err != nil {
			t.Error(err)
		}
		if one, err := i.alice.GetEvent(t.Context(), i.room, "$b:irc.example"); err != nil || one.Unsigned.RedactedBecause == nil {
			t.Errorf("%+v, %v", one, err)
		}
		i.imports(&mautrix.ReqBeeperBatchSend{Forward: true, SendNotification: true, Events: []*event.Event{past("news", 5000, true)}})
		for {
			room := i.sync().Rooms.Join[i.room]
			if room != nil && room.UnreadNotifications != nil && room.UnreadNotifications.NotificationCount == 1 {
				break
			}
			if t.Context().Err() != nil {
				t.Fatal("nobody is told of news")
			}
		}
		i.imports(&mautrix.ReqBeeperBatchSend{Forward: true, MarkReadBy: i.alice.UserID, Events: []*event.Event{past("silent", 6000, true)}})
		if room := i.sync().Rooms.Join[i.room]; room == nil || !slices.Equal(bodiesOf(room.Timeline.Events), []string{"silent"}) {
			t.Error("what is silent does not arrive")
		}
	})
}

func TestImportsThatAreRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := newImporter(t, database)
		one := func(change func(*event.Event)) *mautrix.ReqBeeperBatchSend {
			e := past("x", 1000, true)
			change(e)
			return &mautrix.ReqBeeperBatchSend{Events: []*event.Event{past("before", 900, true), e}}
		}
		state := ""
		for what, c := range map[string]struct {
			code   string
			change func(*event.Event)
		}{
			"what a person said":      {"M_FORBIDDEN", func(e *event.Event) { e.Sender = i.alice.UserID }},
			"a ghost nobody knows":    {"M_FORBIDDEN", func(e *event.Event) { e.Sender = "@irc_unknown:test" }},
			"somebody else's ghost":   {"M_FORBIDDEN", func(e *event.Event) { e.Sender = "@irc_bob:elsewhere" }},
			"state":                   {"M_INVALID_PARAM", func(e *event.Event) { e.StateKey, e.Type = &state, event.StateTopic }},
			"a redaction":             {"M_INVALID_PARAM", func(e *event.Event) { e.Type = event.EventRedaction }},
			"no time":                 {"M_INVALID_PARAM", func(e *event.Event) { e.Timestamp = 0 }},
			"an ID of the server's":   {"M_INVALID_PARAM", func(e *event.Event) { e.ID = "$" + id.EventID(strings.Repeat("a", 43)) }},
			"no ID":                   {"M_INVALID_PARAM", func(e *event.Event) { e.ID = "x:y" }},
			"the same ID twice":       {"M_INVALID_PARAM", func(e *event.Event) { e.ID = "$before:irc.example" }},
			"an event of other rooms": {"M_INVALID_PARAM", func(e *event.Event) { e.RoomID = "!other:test" }},
			"too large an event":      {"M_TOO_LARGE", func(e *event.Event) { e.Content.Parsed.(*event.MessageEventContent).Body = strings.Repeat("x", 70_000) }},
		} {
			i.refused(what, c.code, one(c.change))
		}
		many := &mautrix.ReqBeeperBatchSend{}
		for n := range 1001 {
			many.Events = append(many.Events, past(fmt.Sprint(n), 1000, false))
		}
		i.refused("too many", "M_TOO_LARGE", many)
		if got := i.history(mautrix.DirectionForward); !slices.Equal(got, []string{"create"}) {
			t.Errorf("refused, and yet there is %q", got)
		}
		status, answer := request(t, unjudged(t, i.bot), "POST", "/_matrix/client/unstable/com.beeper.backfill/rooms/"+url.PathEscape(string(i.room))+"/batch_send", nil,
			members{"events": []any{}})
		if list, is := answer["event_ids"].([]any); status != http.StatusOK || !is || len(list) > 0 {
			t.Errorf("a batch of nothing is answered with %d %v", status, answer)
		}
		i.imports(&mautrix.ReqBeeperBatchSend{Events: []*event.Event{past("before", 900, true)}})
		i.refused("an ID that is taken", "M_INVALID_PARAM", one(func(e *event.Event) { e.ID, e.Sender = "$before:irc.example", "@irc_eve:test" }))

		_, err := i.bot.BanUser(t.Context(), i.room, &mautrix.ReqBanUser{UserID: "@irc_eve:test"})
		if err != nil {
			t.Fatal(err)
		}
		i.refused("what the banned said", "M_FORBIDDEN", one(func(e *event.Event) { e.Sender = "@irc_eve:test" }))
		_, err = unjudged(t, i.alice).BeeperBatchSend(t.Context(), i.room, one(func(*event.Event) {}))
		wantCode(t, err, "M_FORBIDDEN")
		outside := unjudgedService(t, i.as("@irc_bob:test"))
		_, err = outside.BeeperBatchSend(t.Context(), i.room, one(func(*event.Event) {}))
		wantCode(t, err, "M_FORBIDDEN")
	})
}
