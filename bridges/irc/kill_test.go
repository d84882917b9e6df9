package irc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
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

type childArgs struct{ Homeserver, Addr, Folder, Listen string }

func runChild(raw string) {
	var args childArgs
	if err := json.Unmarshal([]byte(raw), &args); err != nil {
		panic(err)
	}
	c := config(&fakehomeserver.Homeserver{URL: args.Homeserver}, args.Addr, args.Folder)
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

func startProcess(t *testing.T, h *fakehomeserver.Homeserver, addr string) *process {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := free.Addr().String()
	free.Close()
	raw, err := json.Marshal(childArgs{h.URL, addr, t.TempDir(), listen})
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

// checkRoom compares what the room has of bob's numbers with what was acknowledged.
func checkRoom(t *testing.T, h *fakehomeserver.Homeserver, room string, acked []int) {
	t.Helper()
	if len(acked) > 0 {
		h.WaitBody(room, ghost("bob"), fmt.Sprint(acked[len(acked)-1]))
	}
	var got []int
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == ghost("bob") }) {
		n, err := strconv.Atoi(e.Body())
		if err != nil {
			t.Errorf("bob said %s", e.Content)
		}
		got = append(got, n)
	}
	lost, doubled, disordered := compare(got, acked)
	t.Logf("IRC → Matrix: %d acknowledged, %d lost, %d doubled, %d out of order", len(acked), lost, doubled, disordered)
	if lost+doubled+disordered > 0 {
		t.Errorf("the room has %v", gaps(got))
	}
}

// kills is how often something dies in a test.
const kills = 8

// killing has alice and bob count while something is killed again and again.
func killing(t *testing.T, torn int, prepare func(h *fakehomeserver.Homeserver, server *testkit.IRCServer, p *process) (kill func())) {
	const numbers = 1000
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		w := newWitness(t, server.Addr)
		p := startProcess(t, h, server.Addr)
		w.until("the bridge's bot", 10*time.Second, func() bool { return w.present })
		h.Register(alice, "alice")
		room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
		if refusal != "" {
			t.Fatal(refusal)
		}
		kill := prepare(h, server, p)
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
				h.Say(room, alice, fmt.Sprint(i))
				time.Sleep(3 * time.Millisecond)
			}
		})
		acked := w.count(numbers)
		work.Wait()
		close(stop)
		w.checkHeard(h, room, numbers, torn)
		checkRoom(t, h, room, acked)
	})
}

func TestKillingTheBridge(t *testing.T) {
	killing(t, 0, func(_ *fakehomeserver.Homeserver, _ *testkit.IRCServer, p *process) func() {
		return func() {
			p.kill()
			p.start()
		}
	})
}

func TestKillingTheIRCServer(t *testing.T) {
	killing(t, 2, func(_ *fakehomeserver.Homeserver, server *testkit.IRCServer, _ *process) func() {
		return server.Restart
	})
}

func TestKillingTheHomeserver(t *testing.T) {
	killing(t, 0, func(h *fakehomeserver.Homeserver, _ *testkit.IRCServer, _ *process) func() {
		return func() {
			h.SetDown(true)
			time.Sleep(100 * time.Millisecond)
			h.SetDown(false)
		}
	})
}
