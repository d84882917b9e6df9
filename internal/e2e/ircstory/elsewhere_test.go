package ircstory_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// federating is how servers are run that know each other.
func federating(t *testing.T, authority *testkit.Authority) testkit.TrestleOptions {
	t.Helper()
	certificate, key := authority.Files("127.0.0.1")
	name := testkit.FreeAddress(t)
	return testkit.TrestleOptions{
		ServerName: name,
		Args: []string{
			"--federation-listen", name, "--tls-cert", certificate, "--tls-key", key, "--ca-file", authority.File(), "--open-registration",
		},
		Env: []string{"TRESTLE_FEDERATION_ALLOW_ADDRESSES=127.0.0.0/8"},
	}
}

// TestSomebodyOfAnotherHomeserverIsInTheChannel has the bridge be elsewhere: zoe's homeserver knows nothing of IRC, and joins
// the room for her by its alias, which the other one makes when it is asked.
func TestSomebodyOfAnotherHomeserverIsInTheChannel(t *testing.T) {
	turn := uint64(0)
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		authority := testkit.NewAuthority(t)
		options := federating(t, authority)
		options.Data, options.Bridges = filepath.Join(t.TempDir(), "data"), true
		if database := testkit.EitherDatabase(t, turn); filepath.Ext(database) == "" {
			options.Database = database
		}
		turn++
		if err := os.MkdirAll(options.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		config := fmt.Sprintf("bridges:\n  irc:\n    networks:\n      local:\n        enabled: true\n        address: %s\n        history: shared\n"+
			"        channels: [\"#trestle\"]\n        flood_burst: 1000\n        flood_interval: 1ms\n", irc.Addr)
		if err := os.WriteFile(filepath.Join(options.Data, "trestle.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		bridged := testkit.StartTrestle(t, options)
		other := testkit.StartTrestle(t, federating(t, authority))

		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		zoe := newPerson(t, other, "zoe")
		zoe.joins("#irc_local_#trestle:" + bridged.ServerName)
		bob.Expect(":zoe", "JOIN")
		zoe.says("1", text("hi from elsewhere"))
		bob.Expect(":zoe", "PRIVMSG #trestle :hi from elsewhere")
		bob.Say("#trestle", "that is far")
		zoe.hears(id.UserID("@irc_local_bob:"+bridged.ServerName), "m.text", "that is far")

		// Both servers are killed, and nothing that was said is lost.
		other.Kill()
		bob.Say("#trestle", "are you there?")
		bob.Send("PRIVMSG trestle :\x01PING 1\x01")
		bob.Expect("NOTICE bob", "PING 1") // the bot has kept what came before
		bridged.Kill()
		other.Start()
		bridged.Start()
		zoe.hears(id.UserID("@irc_local_bob:"+bridged.ServerName), "m.text", "are you there?")
		bob.Expect(":zoe", "JOIN")
		zoe.says("2", text("I am back"))
		bob.Expect(":zoe", "PRIVMSG #trestle :I am back")

		if _, err := zoe.LeaveRoom(t.Context(), zoe.room, &mautrix.ReqLeave{}); err != nil {
			t.Fatal(err)
		}
		bob.ExpectFunc("zoe leaving", func(line string) bool {
			return strings.HasPrefix(line, ":zoe") && (strings.Contains(line, " PART ") || strings.Contains(line, " QUIT "))
		})
	})
}
