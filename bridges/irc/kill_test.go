package irc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// bridgeVariable holds, in a child process of the test, the configuration of the
// bridge that it is to be.
const bridgeVariable = "TEST_IRC_BRIDGE"

func TestMain(m *testing.M) {
	if raw := os.Getenv(bridgeVariable); raw != "" {
		runChild(raw)
	}
	os.Exit(m.Run())
}

type childArgs struct {
	Homeserver, Addr, Folder, Listen string
	History                          irc.History // as of config, if empty
	Relay                            irc.RelayMode
}

func runChild(raw string) {
	var args childArgs
	if err := json.Unmarshal([]byte(raw), &args); err != nil {
		panic(err)
	}
	c := config(&fakehomeserver.Homeserver{URL: args.Homeserver}, args.Addr, args.Folder)
	if args.History != "" {
		c.Networks[0].History, c.Networks[0].Hold = args.History, 5*time.Second
	}
	c.Networks[0].Relay.Mode = args.Relay
	c.Listen, c.Logger = args.Listen, slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := irc.Run(context.Background(), c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A process is a bridge that can be killed.
type process struct {
	t      *testing.T
	config string
	cmd    *exec.Cmd
}

func startProcess(t *testing.T, h *fakehomeserver.Homeserver, addr string, change ...func(*childArgs)) *process {
	t.Helper()
	listen := testkit.FreeAddress(t)
	args := childArgs{Homeserver: h.URL, Addr: addr, Folder: t.TempDir(), Listen: listen}
	for _, fn := range change {
		fn(&args)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, config: string(raw)}
	p.start()
	t.Cleanup(p.kill)
	h.SetService("http://" + listen)
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), bridgeVariable+"="+p.config)
	if testing.Verbose() {
		p.cmd.Stderr = p.t.Output()
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// checkRoom compares what the room has of bob's numbers with what the bridge has said to have stored.
func checkRoom(t *testing.T, h *fakehomeserver.Homeserver, room string, stored []int) {
	t.Helper()
	if len(stored) > 0 {
		h.WaitBody(room, ghost("bob"), fmt.Sprint("number ", stored[len(stored)-1]))
	}
	var got []int
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == ghost("bob") }) {
		n, err := strconv.Atoi(strings.TrimPrefix(e.Body(), "number "))
		if err != nil {
			t.Errorf("bob said %s", e.Content)
		}
		got = append(got, n)
	}
	tally := testkit.TallyNumbers(got, stored)
	t.Logf("IRC → Matrix: %v", tally)
	if len(tally.Where) > 0 || len(stored) == 0 {
		t.Errorf("of %d numbers that are stored %v", len(stored), tally.Where)
	}
}

// checkHeard compares what IRC heard of alice's numbers with what she said. Lines that were on their way, or just
// shown around, when everything ended may be lost or come twice, if people are told.
func checkHeard(t *testing.T, h *fakehomeserver.Homeserver, w *testkit.IRCWitness, room string, n, torn int) {
	t.Helper()
	marked := marks(h, room)
	tally := w.Tally(n, marked)
	for patience := time.Now().Add(30 * time.Second); len(tally.Where)+tally.Torn > 0 && time.Now().Before(patience); tally = w.Tally(n, marked) {
		time.Sleep(50 * time.Millisecond) // what is in doubt is told a moment later
		marked = marks(h, room)
	}
	t.Logf("Matrix → IRC: %v", tally)
	if len(tally.Where) > 0 || tally.Torn > torn {
		t.Errorf("%d are torn; %v", tally.Torn, tally.Where)
	}
	if len(marked) > 2*kills { // of each death: one that was on its way, and one that had just been taken
		t.Errorf("%d lines are said to be in doubt after %d kills", len(marked), kills)
	}
}

// marks are alice's numbers that the bridge has said to be in doubt.
func marks(h *fakehomeserver.Homeserver, room string) map[int]bool {
	marked := map[int]bool{}
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }) {
		_, quoted, _ := strings.Cut(e.Body(), "“number ")
		if number, err := strconv.Atoi(strings.TrimSuffix(quoted, "”")); err == nil {
			marked[number] = true
		}
	}
	return marked
}

// kills is how often something dies in a test.
const kills = 8

// killing has alice and bob count while something is killed again and again.
func killing(t *testing.T, torn int, prepare func(h *fakehomeserver.Homeserver, server *testkit.IRCServer, p *process, w *testkit.IRCWitness, over <-chan struct{}) (kill func())) {
	const numbers = 1000
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		w, over := testkit.NewIRCWitness(t, server.Addr), ctx.Done()
		p := startProcess(t, h, server.Addr)
		w.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Bot })
		h.Register(alice, "alice")
		room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
		if refusal != "" {
			t.Fatal(refusal)
		}
		kill := prepare(h, server, p, w, over)
		var work sync.WaitGroup
		stop := make(chan struct{})
		work.Go(func() {
			for range kills {
				select {
				case <-time.After(time.Duration(200+rand.IntN(300)) * time.Millisecond):
					kill()
				case <-stop:
					return
				}
			}
		})
		work.Go(func() {
			for i := 1; i <= numbers; i++ {
				h.Say(room, alice, fmt.Sprint("number ", i))
				time.Sleep(3 * time.Millisecond)
			}
		})
		stored := w.Count(over, func() {}, numbers)
		work.Wait()
		close(stop)
		if !w.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Last() == numbers }) {
			t.Fatalf("alice has come to %d of %d", w.Last(), numbers)
		}
		checkHeard(t, h, w, room, numbers, torn)
		checkRoom(t, h, room, stored)
	})
}

func TestKillingTheBridge(t *testing.T) {
	killing(t, 0, func(_ *fakehomeserver.Homeserver, _ *testkit.IRCServer, p *process, _ *testkit.IRCWitness, _ <-chan struct{}) func() {
		return func() {
			p.kill()
			p.start()
		}
	})
}

func TestKillingTheIRCServer(t *testing.T) {
	killing(t, 2, func(_ *fakehomeserver.Homeserver, server *testkit.IRCServer, _ *process, w *testkit.IRCWitness, over <-chan struct{}) func() {
		life := 0
		return func() {
			// Of a server that bob was never on, nobody can say what alice has said there.
			w.Until(over, func(seen *testkit.IRCSeen) bool {
				if seen.Bot && seen.Life != life {
					life = seen.Life
					return true
				}
				return false
			})
			server.Restart()
		}
	})
}

func TestKillingTheHomeserver(t *testing.T) {
	killing(t, 0, func(h *fakehomeserver.Homeserver, _ *testkit.IRCServer, _ *process, _ *testkit.IRCWitness, _ <-chan struct{}) func() {
		return func() {
			h.SetDown(true)
			time.Sleep(100 * time.Millisecond)
			h.SetDown(false)
		}
	})
}
