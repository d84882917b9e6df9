package irc_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

func TestExternalURLs(t *testing.T) {
	at := time.Date(2026, 11, 2, 23, 4, 5, 0, time.FixedZone("", -2*3600))
	for _, c := range [][3]string{
		{"", "#trestle", ""},
		{"https://logs.example/{channel}/{date}#{time}", "#trestle", "https://logs.example/%23trestle/2026-11-03#01:04:05"},
		{"https://logs.example/{network}/{name}/{year}/{month}/{day}", "##c++", "https://logs.example/local/c%2B%2B/2026/11/03"},
		{"https://logs.example/?in={channel}&at={date}", "#a&at=b", "https://logs.example/?in=%23a%26at%3Db&at=2026-11-03"},
		{"https://logs.example/{name}/x", "#../../y", "https://logs.example/..%2F..%2Fy/x"},
		{"https://logs.example/{name}/x", "#..", "https://logs.example/%2E%2E/x"},
	} {
		if got := irc.ExternalURL(c[0], "local", c[1], at); got != c[2] {
			t.Errorf("%s in %s: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

// Whatever a channel is called, it is one part of the path, and changes nothing else.
func FuzzExternalURLs(f *testing.F) {
	for _, name := range []string{"#trestle", "#..", "#a/b?c#d", "#%2F", "&é\xff", "#{date}"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, channel string) {
		u, err := url.Parse(irc.ExternalURL("https://logs.example/a/{channel}/b?c={channel}#{time}", "local", channel, time.Unix(0, 0)))
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(u.EscapedPath(), "/")
		if u.Host != "logs.example" || len(parts) != 4 || parts[1] != "a" || parts[3] != "b" || u.Fragment != "00:00:00" || len(u.Query()) > 1 {
			t.Fatalf("%q makes %s", channel, u)
		}
		if got, err := url.PathUnescape(parts[2]); err != nil || got != channel {
			t.Fatalf("%q becomes %q, %v", channel, got, err)
		}
	})
}

// What is said in a channel says where it can be read, if the operator has told.
func TestMessagesSayWhereTheyCanBeRead(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].ExternalURL = "https://logs.example/{channel}/{year}#{network}"
	_, stop := start(t, h, c)
	defer stop()
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	h.Register(alice, "alice")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	want := "https://logs.example/%23trestle/" + time.Now().UTC().Format("2006") + "#local"
	bob.Say("#trestle", "hello")
	eventually(t, "the message in "+room, func() bool {
		said := h.Events(room, func(e fakehomeserver.Event) bool { return e.Body() == "hello" })
		if len(said) == 0 {
			return false
		}
		var content struct {
			URL string `json:"external_url"`
		}
		if err := json.Unmarshal(said[0].Content, &content); err != nil || content.URL != want {
			t.Fatalf("%s, %v; want %s", said[0].Content, err, want)
		}
		return true
	})
}
