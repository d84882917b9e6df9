package irc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/migrations"
)

// hostile are lines that no server should send, by what is wrong with them.
func hostile(t *testing.T) map[string][]string {
	lines := map[string][]string{
		"tags": {
			"@ :bob!b@h PRIVMSG #trestle :x1", "@=;;=;a= :bob!b@h PRIVMSG #trestle :x2", "@time=yesterday;msgid :bob!b@h PRIVMSG #trestle :x3",
			"@" + strings.Repeat("a=b;", 2000) + " :bob!b@h PRIVMSG #trestle :x4", "@msgid=" + strings.Repeat("m", 7000) + " :bob!b@h PRIVMSG #trestle :x5",
			"@+draft/reply=$x;+draft/react=" + strings.Repeat("🍵", 500) + " :bob!b@h TAGMSG #trestle", "@batch=none;label=none :bob!b@h PRIVMSG #trestle :x6",
		},
		"batches": {
			"BATCH", "BATCH +", "BATCH -", "BATCH -none", "BATCH +x chathistory #trestle", "@batch=x :bob!b@h PRIVMSG #trestle :forged history",
			"BATCH +y draft/multiline #trestle", "@batch=y :bob!b@h JOIN #trestle", "@batch=y PRIVMSG", "BATCH -y", "BATCH -x", "BATCH +z netsplit",
			"@batch=z :nobody!x@y QUIT", "BATCH -z",
		},
		"nicks": {
			":bob!b@h NICK bob", ":carl!c@h JOIN #trestle", ":dave!d@h JOIN #trestle", ":dave!d@h NICK carl", ":carl!c@h NICK alice", ":carl!c@h NICK trestle",
			":alice!x@y NICK carl", ":carl!c@h QUIT :a.example b.example", ":carl!c@h JOIN #trestle", ":x!x@y NICK :", ":x!x@y NICK " + strings.Repeat("n", 400),
			":" + strings.Repeat("n", 400) + "!x@y JOIN #trestle", ":" + strings.Repeat("n", 400) + "!x@y PRIVMSG #trestle :long", ":\xff\xfe!x@y JOIN #trestle",
			":\xff\xfe!x@y PRIVMSG #trestle :\xff\xfe", ":@!@ JOIN #trestle", ":!!@@ PRIVMSG #trestle :odd",
		},
		"oversized": {
			":bob!b@h TOPIC #trestle :" + strings.Repeat("t", 1200), ":bob!b@h PRIVMSG #trestle :" + strings.Repeat("\x0304,05", 150),
			":bob!b@h KICK #trestle nobody :" + strings.Repeat("k", 1200), ":bob!b@h MODE #trestle +" + strings.Repeat("o", 600) + strings.Repeat(" bob", 100),
			":bob!b@h MODE #trestle +" + strings.Repeat("b", 300) + strings.Repeat(" *!*@*", 45), ":irc.test 353 trestle = #trestle :" + strings.Repeat("@+%&~", 200),
			":bob!b@h INVITE trestle #" + strings.Repeat("c", 1200), ":bob!b@h PRIVMSG trestle :\x01" + strings.Repeat("v", 1200),
		},
		"crowd": {},
	}
	for _, command := range strings.Fields("JOIN PART KICK QUIT NICK TOPIC MODE INVITE PRIVMSG NOTICE TAGMSG REDACT CAP ACCOUNT CHGHOST AWAY SETNAME WALLOPS FAIL WARN RENAME PONG") {
		for _, source := range []string{"", ": ", ":irc.test ", ":nobody!x@y ", ":!@ "} {
			for _, params := range []string{"", " :", " #trestle", " #trestle :", " nobody #trestle", " * * * * * * *"} {
				lines["short commands"] = append(lines["short commands"], source+command+params)
			}
		}
	}
	for numeric := 2; numeric < 1000; numeric++ {
		for _, params := range []string{"", " trestle", " trestle #nowhere", " trestle #trestle :"} {
			lines["short numerics"] = append(lines["short numerics"], fmt.Sprintf(":irc.test %03d%s", numeric, params))
		}
	}
	many := testkit.Size(t, "TEST_IRC_JOINS", 2000)
	for i := range many {
		lines["crowd"] = append(lines["crowd"], fmt.Sprintf(":fan%d!f@h JOIN #trestle", i))
	}
	for i := range many {
		lines["crowd"] = append(lines["crowd"], fmt.Sprintf(":fan%d!f@h PART #trestle", i))
	}
	return lines
}

// Whatever a server sends, the bridge goes on: what is said behind it arrives, both ways.
func TestAHostileServer(t *testing.T) {
	for name, lines := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			o, h, room := watched(t)
			o.mu.Lock()
			for chunk := range slices.Chunk(lines, 500) {
				o.tell(strings.Join(chunk, "\r\n"), nil)
			}
			o.mu.Unlock()
			began := time.Now()
			o.say("still here")
			h.WaitBody(room, ghost("bob"), "still here")
			t.Logf("a message behind %d lines takes %s", len(lines), time.Since(began).Round(time.Millisecond))
			h.Say(room, alice, "me too")
			eventually(t, "what alice has said", func() bool {
				o.mu.Lock()
				defer o.mu.Unlock()
				return slices.Contains(o.heard, "PRIVMSG #trestle :me too") || slices.Contains(o.heard, "PRIVMSG #trestle me too")
			})
			o.mu.Lock()
			defer o.mu.Unlock()
			for _, line := range o.heard {
				if strings.ContainsAny(line, "\r\n\x00") || strings.Contains(line, "injected") {
					t.Errorf("the bridge sends %q", line)
				}
			}
		})
	}
}

// People who call themselves what they are not, or what is none of a name, are on IRC under a legal nick that is
// nobody else's, and say nothing but what they say.
func TestNamesThatSpoof(t *testing.T) {
	o, h := newOracle(t), fakehomeserver.New(t)
	c := config(h, o.addr, t.TempDir())
	_, stop := start(t, h, c)
	h.Register(alice, "")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	names := map[string]string{
		"@trestle:localhost": "trestle", "@bob:localhost": "bob", "@op:localhost": "@op", "@crlf:localhost": "x\r\nQUIT :injected",
		"@nul:localhost": "x\x00y", "@rtl:localhost": "\u202eecila", "@wide:localhost": "ａｌｉｃｅ", "@long:localhost": strings.Repeat("long", 500),
		"@" + strings.Repeat("l", 200) + ":localhost": "alice", "@=2f/..:localhost": "../..", "@0:localhost": "0", "@irc.test:localhost": "irc.test",
	}
	for user, name := range names {
		h.Register(user, name)
		h.Member(room, user, user, "join", name)
	}
	for user := range names {
		eventually(t, user+" in the channel", func() bool { return o.present(user) })
		h.Say(room, user, user+"\r\nQUIT :injected by "+user+"\x00")
	}
	eventually(t, "what everybody has said", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		said := 0
		for _, line := range o.heard {
			if strings.HasPrefix(line, "PRIVMSG #trestle :QUIT :injected by ") {
				said++
			}
		}
		return said == len(names)
	})
	o.mu.Lock()
	nicks := map[string]bool{}
	for c := range o.clients {
		if nick := strings.ToLower(c.nick); c.nick != "" && (nicks[nick] || strings.ContainsAny(nick, " :!@\x00\r\n") || strings.ContainsAny(nick[:1], "0123456789-#&+~%")) {
			t.Errorf("%q is called %q on IRC", c.user, c.nick)
		} else {
			nicks[nick] = true
		}
	}
	for _, line := range o.heard {
		if strings.HasPrefix(line, "QUIT") {
			t.Errorf("the bridge sends %q", line)
		}
	}
	o.mu.Unlock()
	stop()
	db, err := database.Open(t.Context(), c.Database, migrations.Bridges, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	known := 0
	if err := db.Read().QueryRow(t.Context(), countPeople).Scan(&known); err != nil || known != len(names)+1 {
		t.Errorf("the bridge has stored %d of %d people, %v", known, len(names)+1, err)
	}
}

var countPeople = database.SQL(`
	SELECT COUNT(*)
	FROM members
	WHERE NOT ghost`)
