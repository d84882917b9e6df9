package irc_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/migrations"
)

// bodiesOf are the messages of a user in a room.
func bodiesOf(h *fakehomeserver.Homeserver, room, user string) (list []string) {
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == user }) {
		list = append(list, e.Body())
	}
	return list
}

// A channel goes with its room, and so do those who are there; nothing that is said meanwhile is lost
// or said twice, whether or not the bridge is restarted in between.
func TestRoomsAreReplaced(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		for _, history := range []irc.History{irc.HistoryShared, irc.HistoryJoined} {
			t.Run(fmt.Sprint(history, " restarts ", restarts), func(t *testing.T) {
				t.Parallel()
				h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
				c := config(h, server.Addr, t.TempDir())
				c.Networks[0].History, c.Networks[0].Published = history, true
				replaceRoom(t, h, server, c, restarts)
			})
		}
	}
}

func replaceRoom(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer, c irc.Config, restarts bool) {
	bob := testkit.DialIRC(t, server.Addr, "Bob")
	bob.Join("#trestle")
	bob.Send("TOPIC #trestle :Bridges")
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	old := join(t, h, alice, "alice", bob)
	join(t, h, carol, "carol", bob)
	bob.Send("MODE #trestle +o carol")
	waitLevels(t, h, old, "carol's power", func(l levels) bool { return l.Users[carol] == 50 })
	bob.Say("#trestle", "in the old room")
	h.WaitBody(old, ghost("bob"), "in the old room")

	next := h.Successor(alice, old, false)
	if restarts {
		stop()
		bob.Expect(":trestle!", "QUIT")
	}
	h.Tombstone(old, alice, next)
	h.Say(next, alice, "before anybody came")
	for i := range 20 {
		bob.Say("#trestle", fmt.Sprint("n", i))
	}
	if restarts {
		_, stop = start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
	}
	bob.Expect(":alice!", "PRIVMSG #trestle :before anybody came")
	bob.Say("#trestle", "in the new room")
	h.WaitBody(next, ghost("bob"), "in the new room")
	if !restarts { // else the bot was not there
		said := strings.Join(append(bodiesOf(h, old, ghost("bob")), bodiesOf(h, next, ghost("bob"))...), " ")
		want := "in the old room"
		for i := range 20 {
			want += fmt.Sprint(" n", i)
		}
		if said != want+" in the new room" {
			t.Errorf("bob said %q", said)
		}
	}
	h.WaitMembership(next, ghost("bob"), "join")
	h.WaitMembership(old, ghost("bob"), "leave")
	eventually(t, "the alias of the new room", func() bool { return h.Resolve("#irc_local_#trestle:localhost") == next })
	waitState(h, next, "m.bridge", "#trestle")
	waitState(h, old, "m.bridge", "{}")
	waitState(h, next, "m.room.topic", "Bridges")
	waitState(h, next, "m.room.canonical_alias", "#irc_local_#trestle:localhost")
	// Carol comes later, and is who she was.
	h.Member(next, carol, carol, "join", "")
	if !restarts {
		waitLevels(t, h, next, "carol's power", func(l levels) bool { return l.Users[carol] == 50 })
	}
	h.Say(next, carol, "me too")
	bob.Expect(":carol!", "PRIVMSG #trestle :me too")
	h.Say(old, alice, "still here?")
	h.Say(next, alice, "all here")
	if line := bob.Expect(":alice!", "PRIVMSG #trestle"); !strings.HasSuffix(line, ":all here") {
		t.Errorf("IRC hears what is said in the old room: %q", line)
	}
	// And the same after another restart.
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "again")
	h.WaitBody(next, ghost("bob"), "again")
	if room, refusal := h.Join(alice, "#irc_local_#trestle:localhost"); room != next {
		t.Errorf("the alias leads to %q, %s", room, refusal)
	}
}

// A room that does not say that it replaces another does not.
func TestReplacementsThatAreNone(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	k := newTalk(t, h)

	other, empty := h.Successor(alice, "!another:localhost", false), ""
	content := fmt.Sprintf(`{"body":"moved","replacement_room":%q}`, other)
	// None is in the room's state.
	h.Send(room, alice, "m.room.tombstone", nil, content)
	elsewhere := "elsewhere"
	h.Send(room, alice, "m.room.tombstone", &elsewhere, content)
	h.Say(room, alice, "one")
	bob.Expect(":alice!", ":one")
	if h.Membership(other, bot) != "leave" {
		t.Error("the bridge is in a room that nobody may have it join")
	}
	// This one is, and the other room does not know of it.
	h.Send(room, alice, "m.room.tombstone", &empty, content)
	told(h, room, "does not say that it replaces this one")
	h.WaitMembership(other, bot, "leave")
	// Nor does it leave rooms in which it was for other reasons.
	h.Send(room, alice, "m.room.tombstone", &empty, fmt.Sprintf(`{"body":"moved","replacement_room":%q}`, k.room))
	h.WaitN(room, "the second refusal", 2, func(e fakehomeserver.Event) bool { return strings.Contains(e.Body(), "replaces this one") })
	k.says("bridgeversion")
	k.hears("bridge of trestle")
	for _, content := range []string{`{}`, `{"replacement_room":5}`, `{"replacement_room":"!"}`, `{"replacement_room":"x"}`, fmt.Sprintf(`{"replacement_room":%q}`, room)} {
		h.Send(room, alice, "m.room.tombstone", &empty, content)
	}
	h.Say(room, alice, "two")
	bob.Expect(":alice!", ":two")
	bob.Say("#trestle", "three")
	h.WaitBody(room, ghost("bob"), "three")
}

// Where the bridge may not join the new room, everything waits until it is invited.
func TestReplacementsForTheInvited(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	old := join(t, h, alice, "alice", bob)
	next := h.Successor(alice, old, true)
	h.Tombstone(old, alice, next)
	told(h, old, "Invite "+bot)
	bob.Say("#trestle", "is anybody here?")
	stored(t, bob)
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	h.Say(next, alice, "yes")
	h.Member(next, alice, bot, "invite", "")
	bob.Expect(":alice!", "PRIVMSG #trestle :yes")
	h.WaitBody(next, ghost("bob"), "is anybody here?")
	if h.Membership(next, bot) != "join" {
		t.Error("the bridge is not in the room")
	}
	if greeted := bodiesOf(h, next, bot); len(greeted) > 0 {
		t.Errorf("the bridge says %q", greeted)
	}
}

// A room that was replaced may refuse what IRC says before the bridge has heard why. That is not lost, even if the
// bridge ends while it waits to be let into the new one.
func TestWhatIsRefusedBeforeTheTombstoneIsHeard(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	old := join(t, h, alice, "alice", bob)
	h.SetService("") // the bridge hears of nothing
	next := h.Successor(alice, old, true)
	h.Tombstone(old, alice, next)
	bob.Say("#trestle", "is anybody here?")
	told(h, old, "Invite "+bot)
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, c)
	h.Member(next, alice, bot, "invite", "")
	h.WaitBody(next, ghost("bob"), "is anybody here?")
}

// A room that was replaced before the bridge came into it is not the last: the bridge goes on to the one that is, though
// nobody tells it, and takes along what was said in both.
func TestRoomsAreReplacedTwice(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	h.Discreet()
	old := join(t, h, alice, "alice", bob)
	second := h.Successor(alice, old, true)
	h.Tombstone(old, alice, second)
	told(h, old, "Invite "+bot)
	h.Say(second, alice, "between")
	last := h.Successor(alice, second, false)
	h.Tombstone(second, alice, last)
	h.Reopen(second) // for those who have rights there
	h.Say(last, alice, "at the end")
	h.Member(second, alice, bot, "invite", "")
	bob.Expect(":alice!", "PRIVMSG #trestle :between")
	bob.Expect(":alice!", "PRIVMSG #trestle :at the end")
	bob.Say("#trestle", "here")
	h.WaitBody(last, ghost("bob"), "here")
	h.Say(last, alice, "there")
	bob.Expect(":alice!", "PRIVMSG #trestle :there")
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, c)
	bob.Say("#trestle", "again")
	h.Say(last, alice, "too")
	bob.Expect(":alice!", "PRIVMSG #trestle :too")
}

// What was said in the new room before the bridge came is not lost if the bridge ends before it has noted that the room
// is the channel's.
func TestWhatIsSaidBeforeTheBridgeComesOutlivesIt(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, url string) {
		h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		c, errs := config(h, server.Addr, t.TempDir()), newErrors()
		c.Database, c.Logger = url, slog.New(errs)
		put, remove := "ALTER TABLE former_rooms ADD CONSTRAINT obstacle CHECK (portal < 0)", "ALTER TABLE former_rooms DROP CONSTRAINT obstacle"
		if !strings.Contains(url, "://") {
			put = "CREATE TRIGGER obstacle BEFORE INSERT ON former_rooms BEGIN SELECT RAISE(ABORT, 'obstacle'); END"
			remove = "DROP TRIGGER obstacle"
		}
		execute(t, url, put)
		_, stop := start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		h.Discreet()
		old := join(t, h, alice, "alice", bob)
		h.SetService("") // the bridge hears of nothing
		next := h.Successor(alice, old, false)
		h.Tombstone(old, alice, next)
		h.Say(next, alice, "missed")
		bob.Say("#trestle", "is anybody here?")
		errs.wait(t, "obstacle")
		stop()
		bob.Expect(":trestle!", "QUIT")
		execute(t, url, remove)
		start(t, h, c)
		h.WaitBody(next, ghost("bob"), "is anybody here?")
		h.Say(next, alice, "later")
		if line := bob.Expect(":alice!", "PRIVMSG #trestle"); !strings.HasSuffix(line, ":missed") {
			t.Errorf("IRC hears %q", line)
		}
		bob.Expect(":alice!", "PRIVMSG #trestle :later")
	})
}

// What was said before the bridge came, and what it heard since, keep their order, however late it hears of them.
func TestWhatIsSaidAroundTheJoinKeepsItsOrder(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	h.Discreet()
	old := join(t, h, alice, "alice", bob)
	next := h.Successor(alice, old, true)
	h.Tombstone(old, alice, next)
	told(h, old, "Invite "+bot)
	h.Say(next, alice, "one")
	h.Say(next, alice, "two")
	release := h.Hold(bot, next+"/state")
	h.Member(next, alice, bot, "invite", "")
	h.WaitMembership(next, bot, "join")
	h.Say(next, alice, "three")
	h.Told()
	h.Mute(true)
	h.Say(next, alice, "four")
	release()
	bob.Expect(":alice!", "PRIVMSG #trestle :two")
	h.Mute(false)
	h.Say(next, alice, "five")
	for _, want := range []string{"three", "four", "five"} {
		if line := bob.Expect(":alice!", "PRIVMSG #trestle :"); !strings.HasSuffix(line, ":"+want) {
			t.Errorf("instead of %q IRC hears %q", want, line)
		}
	}
}

// execute changes a bridge's database while no bridge runs.
func execute(t *testing.T, url, statement string) {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(t.Context(), func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), database.SQL(statement))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// loggedErrors are what a bridge has logged with its messages.
type loggedErrors struct {
	slog.Handler
	lines chan string
}

func newErrors() *loggedErrors { return &loggedErrors{slog.DiscardHandler, make(chan string, 1000)} }

func (e *loggedErrors) Enabled(context.Context, slog.Level) bool { return true }

func (e *loggedErrors) WithAttrs([]slog.Attr) slog.Handler { return e }

func (e *loggedErrors) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		select {
		case e.lines <- a.Value.String():
		default:
		}
		return true
	})
	return nil
}

// wait waits for an error that mentions something.
func (e *loggedErrors) wait(t *testing.T, what string) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case line := <-e.lines:
			if strings.Contains(line, what) {
				return
			}
		case <-deadline:
			t.Fatalf("nothing was logged about %q", what)
		}
	}
}

// What people said in the new room before the bridge was there is read from it, also what a homeserver says whose clock
// is behind.
func TestWhatWasSaidBeforeByAnotherClock(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	old := join(t, h, alice, "alice", bob)
	stop()
	bob.Expect(":trestle!", "QUIT")
	next := h.Successor(alice, old, false)
	h.SayAt(next, alice, "before anybody came", time.Now().Add(-2*time.Minute))
	h.Tombstone(old, alice, next)
	passed(t, h, next) // the bridge itself hears of none of that
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "is anybody here?")
	bob.Expect(":alice!", "PRIVMSG #trestle :before anybody came")
	h.WaitBody(next, ghost("bob"), "is anybody here?")
}

// What was in the old room already when the bridge stopped, and was not noted, does not come into the new one as well;
// what was not there does, and does not come into the old one, though whoever has rights there may still speak. So it is if the
// new one was replaced, too.
func TestWhatIsInTheOldRoomIsNotSentToTheNewOne(t *testing.T) {
	t.Parallel()
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprint("twice ", twice), func(t *testing.T) {
			t.Parallel()
			notSentToTheNewOne(t, twice)
		})
	}
}

func notSentToTheNewOne(t *testing.T, twice bool) {
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	old := join(t, h, alice, "alice", bob)
	bob.Say("#trestle", "hello")
	h.WaitBody(old, ghost("bob"), "hello")
	release := h.Hold(ghost("bob"), "")
	bob.Say("#trestle", "once")
	h.WaitBody(old, ghost("bob"), "once") // but the bridge does not hear of it
	bob.Say("#trestle", "later")
	bob.Say("#trestle", "latest")
	bob.Send("PRIVMSG trestle :\x01PING taken\x01")
	bob.Expect("NOTICE bob", "PING taken\x01")
	next := h.Successor(alice, old, false)
	h.Tombstone(old, alice, next)
	h.Wait(next, "the main alias", func(e fakehomeserver.Event) bool { return e.Type == "m.room.canonical_alias" })
	if twice {
		second := next
		next = h.Successor(alice, second, true)
		h.Tombstone(second, alice, next)
		told(h, second, "Invite "+bot)
	}
	stop()
	release()
	bob.Expect(":trestle!", "QUIT")
	sent := bodiesOf(h, old, ghost("bob"))
	h.Reopen(old)
	h.Member(old, ghost("bob"), ghost("bob"), "join", "") // who has left meanwhile
	start(t, h, c)
	if twice {
		h.Member(next, alice, bot, "invite", "")
	}
	h.WaitBody(next, ghost("bob"), "latest")
	if !slices.Equal(sent, []string{"hello", "once"}) || !slices.Equal(bodiesOf(h, old, ghost("bob")), sent) {
		t.Errorf("the old room has %q, and had %q", bodiesOf(h, old, ghost("bob")), sent)
	}
	if got := bodiesOf(h, next, ghost("bob")); !slices.Equal(got, []string{"later", "latest"}) {
		t.Errorf("the new room has %q", got)
	}
}

// A room of others is linked when it was replaced, too, and is no more the bridge's than before.
func TestRoomsOfOthersAreReplaced(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	bob.Send("TOPIC #trestle :Bridges")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := garden(h)
	linked(t, h, room, bob)
	waitState(h, room, "m.bridge", "#trestle")
	next := h.Successor(alice, room, false)
	h.Tombstone(room, alice, next)
	bob.Say("#trestle", "anybody?")
	h.WaitBody(next, ghost("bob"), "anybody?")
	waitState(h, room, "m.bridge", "{}")
	h.Say(next, alice, "me")
	bob.Expect(":alice!", "PRIVMSG #trestle :me")
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "again")
	h.WaitBody(next, ghost("bob"), "again")
	bob.Send("TOPIC #trestle :Thorns")
	bob.Say("#trestle", "there")
	h.WaitBody(next, ghost("bob"), "there")
	if topic := h.State(next, "m.room.topic", ""); topic != "" {
		t.Errorf("the topic of a room of others is %s", topic)
	}
	h.Say(next, alice, "!irc unlink")
	waitState(h, next, "m.bridge", "{}")
	h.WaitMembership(next, ghost("bob"), "leave")
}
