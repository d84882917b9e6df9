package ircstory_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// upgrades is how often the room is replaced: TEST_UPGRADES, or enough to be killed at several points.
func upgrades(t *testing.T) int { return testkit.Size(t, "TEST_UPGRADES", 2) }

// A room that a channel is bridged to is replaced again and again, by the homeserver's own means, and the
// server dies while the bridge follows: what both sides say is there once, in order, in one room or the other.
func TestNothingIsLostWhenARoomIsReplaced(t *testing.T) {
	irc := testkit.Ngircd(t, testkit.IRCOptions{})
	testkit.Databases(t, func(t *testing.T, url string) {
		options := testkit.TrestleOptions{}
		if strings.Contains(url, "://") {
			options.Database = url
		}
		trestle := startWith(t, options, fmt.Sprintf(`
        address: %s
        history: shared
        mappings:
          - channel: "#trestle"
            room: "#village:localhost"`, irc.Addr))
		alice := newPerson(t, trestle, "alice")
		alice.createsVillage()
		trestle.Restart() // the bridge looks for the room when it connects
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		dora := testkit.DialIRC(t, irc.Addr, "dora") // who listens
		dora.Join("#trestle")
		bob.ExpectFunc("alice in the channel", func(line string) bool {
			return strings.HasPrefix(line, ":alice!") && strings.Contains(line, " JOIN ") || strings.Contains(line, " 353 ") && strings.Contains(line, "alice")
		})
		rooms, random, lines, numbers := []id.RoomID{alice.room}, rand.New(rand.NewPCG(7, 8)), 0, 0
		for range upgrades(t) {
			for range 20 {
				lines++
				bob.Say("#trestle", fmt.Sprint("line ", lines))
			}
			bob.Send("PRIVMSG trestle :\x01PING lines\x01")
			bob.Expect("NOTICE bob", "PING lines\x01")
			alice.replacesRoom()
			rooms = append(rooms, alice.room)
			for range 5 {
				numbers++
				alice.says(strconv.Itoa(numbers), text(fmt.Sprint("number ", numbers)))
			}
			time.Sleep(time.Duration(random.IntN(80)) * time.Millisecond) // the dice, not a wait for something
			trestle.Kill()
			bob.ExpectFunc("the bot going away", func(line string) bool {
				return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " QUIT ")
			})
			trestle.Start()
			bob.ExpectFunc("the bot coming back", func(line string) bool {
				return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " JOIN ")
			})
			final := fmt.Sprint("line ", lines)
			alice.until(final, func(e *event.Event) bool { return e.Content.Raw["body"] == final })
		}
		alice.says("end", text("the end"))
		judgeNumbers(t, dora, alice, numbers)
		judgeLines(t, alice, rooms, lines)
	})
}

func (p *person) createsVillage() {
	p.t.Helper()
	created, err := p.CreateRoom(p.t.Context(), &mautrix.ReqCreateRoom{
		Preset: "public_chat", RoomAliasName: "village", Name: "Village",
		PowerLevelOverride: &event.PowerLevelsEventContent{Users: map[id.UserID]int{"@irc_bot:localhost": 100}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.room = created.RoomID
}

func (p *person) replacesRoom() {
	p.t.Helper()
	var resp struct {
		Replacement id.RoomID `json:"replacement_room"`
	}
	_, err := p.MakeRequest(p.t.Context(), "POST", p.BuildClientURL("v3", "rooms", p.room, "upgrade"), map[string]string{"new_version": "12"}, &resp)
	if err != nil {
		p.t.Fatal(err)
	}
	p.room = resp.Replacement
}

// judgeNumbers holds that IRC has heard all that alice said, once; where nobody can know, she is told. It is in
// order, but for what a new room had before the bridge came and died.
func judgeNumbers(t *testing.T, dora *testkit.IRCClient, alice *person, n int) {
	t.Helper()
	heard, last, late := map[int]bool{}, 0, 0
	for {
		_, said, _ := strings.Cut(dora.Expect(":alice", "PRIVMSG #trestle :"), "PRIVMSG #trestle :")
		if said == "the end" {
			break
		}
		i, err := strconv.Atoi(strings.TrimPrefix(said, "number "))
		if err != nil || heard[i] {
			t.Fatalf("after %d comes %q", last, said)
		}
		if heard[i] = true; i < last {
			late++
		}
		last = max(last, i)
	}
	for i := 1; i <= n; i++ {
		if !heard[i] {
			alice.isTold(i)
		}
	}
	t.Logf("%d messages from Matrix to IRC, %d of them after later ones", n, late)
}

// judgeLines holds that the rooms have all that bob said, once and in order, and that no room has anything
// of it that belongs into one after it.
func judgeLines(t *testing.T, alice *person, rooms []id.RoomID, n int) {
	t.Helper()
	alice.mu.Lock()
	defer alice.mu.Unlock()
	last := 0
	for _, room := range rooms {
		had := 0
		for _, e := range alice.seen {
			body, _ := e.Content.Raw["body"].(string)
			said, found := strings.CutPrefix(body, "line ")
			if !found || e.RoomID != room {
				continue
			}
			if i, err := strconv.Atoi(said); err != nil || i != last+1 {
				t.Fatalf("after line %d comes %q", last, body)
			}
			last++
			had++
		}
		t.Logf("%d lines in %s", had, room)
	}
	if last != n {
		t.Errorf("the rooms have %d of %d lines", last, n)
	}
}
