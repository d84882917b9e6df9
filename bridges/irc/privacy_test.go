package irc_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// sightings are what a user can read of a room whose history is for those who were there:
// what /sync and /messages go by.
func sightings(h *fakehomeserver.Homeserver, room, user string) []fakehomeserver.Event {
	in := false
	return h.Events(room, func(e fakehomeserver.Event) bool {
		if e.Type == "m.room.member" && *e.StateKey == user {
			in = e.Membership() == "join"
		}
		return in && isMessage(e)
	})
}

// mayKnow tells whether a user may have been shown something: it was in the channel when that was
// said; or came in later, and was not shown it before.
func (o *oracle) mayKnow(user, text string, shown time.Time) bool {
	in, said := false, false
	for _, f := range o.truth {
		switch {
		case f.text == text:
			if in {
				return true
			}
			said = true
		case f.user == user:
			if in = f.came; said && in && !f.at.After(shown) {
				return true
			}
		}
	}
	return false
}

// steps is how long the property test goes on: TEST_PRIVACY_STEPS, or a few seconds.
func steps(t *testing.T) int { return testkit.Size(t, "TEST_PRIVACY_STEPS", 250) }

// Whatever people, operators and the bridge do: what a Matrix user can read was said while its
// puppet was in the channel, or held back until it was.
func TestNobodyReadsAChannelThatTheyAreNotIn(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { breakPrivacy(t, rand.New(rand.NewPCG(seed, 5))) })
	}
}

func breakPrivacy(t *testing.T, random *rand.Rand) {
	t.Parallel()
	o, h, folder := newOracle(t), fakehomeserver.New(t), t.TempDir()
	c := config(h, o.addr, folder)
	c.Networks[0].History, c.Networks[0].Hold = irc.HistoryJoined, 300*time.Millisecond
	_, stop := start(t, h, c)
	people := []string{alice, carol, "@dave:localhost", "@erin:localhost"}
	for _, user := range people {
		h.Register(user, "")
	}
	// One who stays: nothing may be lost for it.
	const faithful = "@faithful:localhost"
	h.Register(faithful, "")
	room, refusal := h.Join(faithful, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	eventually(t, "faithful in the channel", func() bool { return o.present(faithful) })
	said := 0
	for range steps(t) {
		user := people[random.IntN(len(people))]
		switch random.IntN(16) {
		case 0, 1, 2:
			if h.Membership(room, user) != "join" {
				h.Member(room, user, user, "join", "")
			}
		case 3:
			if h.Membership(room, user) == "join" {
				h.Member(room, user, user, "leave", "")
			}
		case 4:
			o.kick(user)
		case 5:
			o.kill(user)
		case 6:
			o.part(user)
		case 7:
			o.rename(user, fmt.Sprintf("n%d", random.IntN(1000)))
		case 8:
			o.ban(user, random.IntN(2) == 0)
		case 9:
			o.setSlow(random.IntN(2) == 0)
		case 10:
			if random.IntN(8) == 0 {
				stop()
				if random.IntN(2) == 0 && h.Membership(room, user) != "join" {
					h.Member(room, user, user, "join", "")
				}
				_, stop = start(t, h, c)
			}
		default:
			o.say(fmt.Sprint("m", said))
			said++
		}
		if random.IntN(3) == 0 {
			time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond) // the dice, not a wait for something
		}
	}
	settlePrivacy(t, o, h, room, people)
	o.judge(t, h, room, append(people, faithful))
	judgeOrder(t, h, room)
}

// settlePrivacy has everything that is still held go through.
func settlePrivacy(t *testing.T, o *oracle, h *fakehomeserver.Homeserver, room string, people []string) {
	t.Helper()
	o.setSlow(false)
	for _, user := range people {
		o.ban(user, false)
	}
	eventually(t, "the bot in the channel", func() bool { return o.present("Matrix bridge of localhost") })
	o.say("the end")
	h.WaitBody(room, ghost("bob"), "the end")
}

// judge holds what people can read of bob's words against what they may know.
func (o *oracle) judge(t *testing.T, h *fakehomeserver.Homeserver, room string, people []string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	shown := 0
	for _, user := range people {
		for _, e := range sightings(h, room, user) {
			if e.Sender != ghost("bob") {
				continue
			}
			shown++
			if !o.mayKnow(user, e.Body(), e.Arrived) {
				t.Errorf("%s can read %q", user, e.Body())
			}
		}
	}
	t.Logf("read %d times by %d people", shown, len(people))
	if shown == 0 {
		t.Error("nobody has read anything")
	}
}

// judgeOrder wants the numbered messages in their order, each once.
func judgeOrder(t *testing.T, h *fakehomeserver.Homeserver, room string) {
	t.Helper()
	all := h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == ghost("bob") })
	last := -1
	for _, e := range all {
		text, numbered := strings.CutPrefix(e.Body(), "m")
		if n, err := strconv.Atoi(text); numbered && (err != nil || n <= last) {
			t.Errorf("%q comes after %d", e.Body(), last)
		} else if numbered {
			last = n
		}
	}
	t.Logf("%d messages", len(all))
}
