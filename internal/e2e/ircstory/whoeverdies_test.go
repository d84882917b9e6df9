package ircstory_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"

	"trestle/internal/testkit"
)

const (
	// ahead is how far alice's counting may be ahead of what bob has heard of it, so that
	// whoever dies does so while something is on its way.
	ahead = 100
	// stall is how many seconds nothing may happen at all.
	stall = 180
	// between is how many numbers there are about from one death to the next, and mostDeaths about how many
	// deaths there are where there is more to be said.
	between, mostDeaths = 90, 300
)

// TestNothingIsLostWhoeverDies has alice and bob count, each for the other to hear, while the
// bridge, the homeserver and the IRC server are killed in turn and all at once:
// TEST_KILL_MESSAGES numbers each way.
func TestNothingIsLostWhoeverDies(t *testing.T) {
	n := testkit.Size(t, "TEST_KILL_MESSAGES", 300)
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		if n < 1000 {
			whoeverDies(t, irc, "", n)
			return
		}
		testkit.Databases(t, func(t *testing.T, database string) { whoeverDies(t, irc, database, n) })
	})
}

func whoeverDies(t *testing.T, irc *testkit.IRCServer, database string, n int) {
	p := startParts(t, database, irc)
	bob := testkit.NewIRCWitness(t, irc.Addr)
	over, progress := stalled(t)
	bob.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Bot })
	alice := newCounter(t, p.trestle)
	alice.joins(alias)

	began, seed := time.Now(), rand.Uint64()
	var counting sync.WaitGroup
	var stored []int
	counting.Go(func() { stored = bob.Count(over, progress, n) })
	counting.Go(func() {
		for i := 1; i <= n; i++ {
			if !bob.Until(over, func(seen *testkit.IRCSeen) bool { return i <= seen.Last()+ahead }) {
				return
			}
			alice.insists(over, strconv.Itoa(i), text(fmt.Sprint("number ", i)))
		}
	})
	deathly(p, bob, n, rand.New(rand.NewPCG(seed, 0)), over, progress)
	counting.Wait()
	if !bob.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Last() == n }) {
		t.Errorf("alice has come to %d of %d", bob.Last(), n)
	}
	took := time.Since(began)

	got, marked := alice.numbers(over, progress, stored)
	deaths := 0
	for _, times := range p.deaths {
		deaths += times
	}
	fromMatrix, fromIRC := bob.Tally(n, marked), testkit.TallyNumbers(got, stored)
	t.Logf("%d deaths in %v: %v", deaths, took.Round(time.Second), p.deaths)
	t.Logf("Matrix → IRC: %v", fromMatrix)
	t.Logf("IRC → Matrix: %v", fromIRC)
	for _, c := range []*testkit.IRCTally{fromMatrix, fromIRC} {
		if c.Lost+c.Doubled+c.Disordered > 0 {
			t.Errorf("seed %d: %d lost, %d doubled, %d out of order: %s", seed, c.Lost, c.Doubled, c.Disordered, strings.Join(c.Where[:min(len(c.Where), 20)], "; "))
		}
	}
	if len(stored) < n/2 || deaths < 2 {
		t.Errorf("%d deaths, and bob knows of %d of %d numbers that they are stored", deaths, len(stored), n)
	}
	// Of a server's death two lines are in doubt: one on its way, and the last that it had shown to somebody.
	if servers := p.deaths["IRC server"] + p.deaths["all three"]; len(marked) > deaths+servers || fromMatrix.Torn > servers {
		t.Errorf("seed %d: after %d deaths %d lines are in doubt, and %d torn", seed, deaths, len(marked), fromMatrix.Torn)
	}
}

// deathly kills one after the other, each when bob has heard a number that is chosen beforehand, so that
// there are as many deaths however much is heard while somebody is dead.
func deathly(p *parts, bob *testkit.IRCWitness, n int, random *rand.Rand, over <-chan struct{}, progress func()) {
	var victims []string
	apart := max(between, n/mostDeaths)
	next := func(last int) int { return last + apart/2 + random.IntN(apart) }
	for number := next(0); number <= n; number = next(number) {
		if !bob.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Last() >= number }) {
			return
		}
		if len(victims) == 0 {
			victims = []string{"bridge", "homeserver", "IRC server", "all three"}
			random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
		}
		<-time.After(time.Duration(random.IntN(10_000)) * time.Microsecond)
		p.kill(victims[0])
		victims = victims[1:]
		progress()
	}
}

// stalled is closed when nothing has made progress for long. It counts seconds in which this process
// runs, so that a machine may sleep.
func stalled(t *testing.T) (over <-chan struct{}, progress func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	quiet := 0
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			mu.Lock()
			quiet++
			late := quiet > stall
			mu.Unlock()
			if late {
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		watching.Wait()
	})
	return ended, func() {
		mu.Lock()
		defer mu.Unlock()
		quiet = 0
	}
}

// newCounter is alice without the judge, who would be slower than the servers.
func newCounter(t *testing.T, trestle *testkit.Trestle) *person {
	t.Helper()
	client, err := mautrix.NewClient(trestle.BaseURL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client, client.DefaultHTTPRetries = &http.Client{Timeout: patience}, 0
	res, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: "alice", Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	client.UserID, client.AccessToken, client.DeviceID = res.UserID, res.AccessToken, res.DeviceID
	return &person{Client: client, t: t, changed: make(chan struct{})}
}

// insists sends a message under a transaction ID until the server has taken it.
func (p *person) insists(over <-chan struct{}, txn string, content map[string]any) {
	for {
		_, err := p.SendMessageEvent(p.t.Context(), p.room, event.EventMessage, content, mautrix.ReqSendEvent{TransactionID: txn})
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-over:
			p.t.Errorf("the server does not take %s: %v", txn, err)
			return
		}
	}
}

// numbers reads the room from its beginning: what bob has said there, as soon as the last that the
// bridge has stored is there, and what the bridge says to be in doubt.
func (p *person) numbers(over <-chan struct{}, progress func(), stored []int) (got []int, marked map[int]bool) {
	p.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for before := 0; len(stored) > 0; {
		last := p.lastOfBob()
		if last >= stored[len(stored)-1] {
			break
		}
		if last != before {
			progress()
		}
		before = last
		select {
		case <-tick.C:
		case <-over:
			p.t.Errorf("of what bob has said no more than %d comes into the room", last)
			stored = nil
		}
	}
	marked = map[int]bool{}
	for from := ""; ; {
		page, err := p.Messages(p.t.Context(), p.room, from, "", mautrix.DirectionForward, nil, 500)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, e := range page.Chunk {
			body, _ := e.Content.Raw["body"].(string)
			number, err := strconv.Atoi(strings.TrimPrefix(body, "number "))
			_, quoted, _ := strings.Cut(strings.TrimSuffix(body, "”"), "“number ")
			switch {
			case e.Sender == ghost && err == nil:
				got = append(got, number)
			case e.Sender == ircBot && quoted != "":
				if number, err = strconv.Atoi(quoted); err != nil {
					p.t.Errorf("the bridge says %q", body)
				}
				marked[number] = true
			}
		}
		if from = page.End; from == "" {
			return got, marked
		}
	}
}

// lastOfBob is the last number of bob's in the room, behind which there may be many of alice's.
func (p *person) lastOfBob() int {
	for from := ""; ; {
		page, err := p.Messages(p.t.Context(), p.room, from, "", mautrix.DirectionBackward, nil, 50)
		if err != nil {
			p.t.Error(err)
			return 0
		}
		for _, e := range page.Chunk {
			body, _ := e.Content.Raw["body"].(string)
			if number, err := strconv.Atoi(strings.TrimPrefix(body, "number ")); err == nil && e.Sender == ghost {
				return number
			}
		}
		if from = page.End; from == "" {
			return 0
		}
	}
}
