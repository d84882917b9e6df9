package irc

import (
	"log/slog"
	"strings"
	"testing"

	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// Who has a name keeps it, whoever comes later and calls themselves the same.
func TestRelayedNamesAreKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		load := func() *relay {
			n := configured(Network{ID: "local", BotNick: "trestle"})
			n.service, n.log = &Service{db: db, ctx: t.Context()}, slog.New(slog.DiscardHandler)
			n.bot = newBot(n)
			r, err := newRelay(n)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		r := load()
		if a, b := r.nick("@a:home", "Al"), r.nick("@b:home", "aL"); a != "Al" || b != "aL_" {
			t.Errorf("they are called %q and %q", a, b)
		}
		r.setWanted("@c:home", true)
		if err := db.Update(t.Context(), func(*database.Tx) error { return nil }); err != nil { // behind what was stored
			t.Fatal(err)
		}
		r = load()
		if b, a := r.nick("@b:home", "aL"), r.nick("@a:home", "Al"); a != "Al" || b != "aL_" || !r.wants("@c:home") || r.wants("@a:home") {
			t.Errorf("they are called %q and %q", a, b)
		}
		if c, a := r.nick("@c:home", "\x00al"), r.nick("@a:home", "Zoe"); c != "al__" || a != "Zoe" || !r.wants("@c:home") {
			t.Errorf("they are called %q and %q", c, a)
		}
	})
}

func FuzzRelayNick(f *testing.F) {
	f.Add("alice", "<{nick}> ")
	f.Add("bob> hi <x", "<{nick}> ")
	f.Add("a] b [c", "[{nick}] ")
	f.Add("\r\nQUIT", "{nick}: ")
	f.Fuzz(func(t *testing.T, display, prefix string) {
		config := Relay{Prefix: prefix}
		if config.complete(nil) != nil {
			return
		}
		r := &relay{net: configured(Network{Relay: config})}
		nick := r.baseNick(matrix.UserID("@user:localhost"), display)
		if nick == "" || len(nick) > maxRelayNick || strings.ContainsFunc(nick, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%q is called %q", display, nick)
		}
		before, after, _ := strings.Cut(config.Prefix, relayPlace)
		if strings.ContainsAny(nick, before+after) && nick != relayMark {
			t.Fatalf("%q is called %q within %q", display, nick, prefix)
		}
	})
}
