package jsclient_test

import (
	"net/http/httptest"
	"net/http/httputil"
	"testing"

	"trestle/internal/testkit"
)

// TestHomeserver has alice and bob use most of what a client can do.
func TestHomeserver(t *testing.T) {
	t.Parallel()
	testkit.NodeLibraries(t, "jsclient", wanted)
	testkit.Databases(t, func(t *testing.T, database string) {
		server := testkit.StartTrestle(t, testkit.TrestleOptions{Database: database, Args: []string{"--open-registration"}})
		begin(t, "homeserver.mjs", server.BaseURL).end()
	})
}

// TestEncryption has alice and bob set up and use all of end-to-end encryption.
func TestEncryption(t *testing.T) {
	t.Parallel()
	testkit.NodeLibraries(t, "jsclient", wanted)
	testkit.Databases(t, func(t *testing.T, database string) {
		server := testkit.StartTrestle(t, testkit.TrestleOptions{Database: database, Args: []string{"--open-registration"}})
		begin(t, "encryption.mjs", server.BaseURL).end()
	})
}

// TestOAuth has alice log in on pages of the server, which are at an address
// that the operator has named.
func TestOAuth(t *testing.T) {
	t.Parallel()
	testkit.NodeLibraries(t, "jsclient", wanted)
	testkit.Databases(t, func(t *testing.T, database string) {
		var server *testkit.Trestle
		public := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", server.Addr
		}})
		defer public.Close()
		server = testkit.StartTrestle(t, testkit.TrestleOptions{
			Database: database, Args: []string{"--open-registration"}, Env: []string{"TRESTLE_PUBLIC_BASE_URL=" + public.URL},
		})
		begin(t, "oauth.mjs", server.BaseURL).end()
	})
}

// TestIRC has alice join a channel by its alias and talk with bob, who is on a
// real IRC server and knows nothing of Matrix.
func TestIRC(t *testing.T) {
	t.Parallel()
	testkit.NodeLibraries(t, "jsclient", wanted)
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		carol := testkit.DialIRC(t, irc.Addr, "carol")
		carol.Join("#trestle")
		bob.Send("TOPIC #trestle :Bridges and rivers")
		server := testkit.StartTrestle(t, testkit.TrestleOptions{
			Bridges: true,
			Args:    []string{"--open-registration", "--irc-network", "local=" + irc.Addr},
		})
		story := begin(t, "irc.mjs", server.BaseURL)

		bob.Expect(":alice!", " JOIN ", "#trestle")
		bob.Expect(":alice!", " PRIVMSG #trestle :hi!")
		bob.Say("#trestle", "hello alice, ça va? ☕")
		bob.Expect(":alice!", " PRIVMSG #trestle :\x01ACTION waves\x01")
		bob.Say("#trestle", "\x01ACTION waves back\x01")
		bob.Expect(":alice!", " PRIVMSG #trestle :so \x02bold")
		bob.Send("NOTICE #trestle :\x02bolder\x02 still")
		bob.Expect(":alice!", " PRIVMSG #trestle :who are you?")
		bob.Send("NICK robert")
		bob.Say("#trestle", "I am robert")
		bob.Expect(":alice!", " PRIVMSG #trestle :bye")
		bob.Send("PART #trestle :gone")
		carol.Expect(":alice!", " PART ", "#trestle")
		story.end()
	})
}
