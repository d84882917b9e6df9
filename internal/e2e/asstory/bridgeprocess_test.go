//go:build cgo && libsqlite3

package asstory_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	stock "maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/matrix"
)

// The variable that makes this test's binary a bridge has its launch, as JSON.
const envBridge = "TRESTLE_TEST_BRIDGE"

type launch struct{ Address, Homeserver, Registration, Database string }

// A line is what somebody on the bridge's network says in a chat.
type line struct{ Chat, Who, Text string }

// Before the tests are, since there may be none.
func init() {
	text := os.Getenv(envBridge)
	if text == "" {
		return
	}
	var l launch
	err := json.Unmarshal([]byte(text), &l)
	if err == nil {
		err = l.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run is a bridge until standard input ends, which has what is said on the
// network. What the network hears goes to standard output.
func (l launch) run() error {
	cfg := bridgeConfig(l.Address, l.Homeserver)
	reg, err := stock.LoadRegistration(l.Registration)
	if err != nil {
		return err
	}
	cfg.AppService.ASToken, cfg.AppService.HSToken = reg.AppToken, reg.ServerToken
	cfg.DoublePuppet.Secrets = map[string]string{"localhost": "as_token:" + reg.AppToken}
	db, err := dbutil.NewFromConfig("memory", dbutil.Config{PoolConfig: dbutil.PoolConfig{
		Type: "sqlite3-fk-wal", URI: "file:" + l.Database + "?_txlock=immediate", MaxOpenConns: 5,
	}}, nil)
	if err != nil {
		return err
	}
	n := &network{heard: func(text string) { fmt.Println(text) }}
	connector := matrix.NewConnector(cfg)
	bridge := bridgev2.NewBridge("", db, zerolog.New(os.Stderr).Level(zerolog.WarnLevel), &cfg.Bridge, connector, n, commands.NewProcessor)
	connector.AS.DoublePuppetValue = cfg.AppService.ID
	if err := bridge.Start(context.Background()); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := json.NewDecoder(os.Stdin); ; {
		var said line
		switch err := lines.Decode(&said); {
		case err == io.EOF:
			bridge.StopWithTimeout(patience)
			return nil
		case err != nil:
			return err
		}
		n.say(bridge.GetCachedUserLoginByID("alice"), said.Chat, said.Who, said.Text)
	}
}

// A bridgeProcess is a bridge that runs by itself: the library's own goroutines
// race with each other, which is not for us to judge.
type bridgeProcess struct {
	t       *testing.T
	launch  []byte
	process *exec.Cmd
	input   io.WriteCloser
	ended   chan struct{}
	heard   chan string
}

func newBridgeProcess(t *testing.T, address, homeserver, registration string) *bridgeProcess {
	t.Helper()
	text, err := json.Marshal(launch{address, homeserver, registration, filepath.Join(t.TempDir(), "bridge.db")})
	if err != nil {
		t.Fatal(err)
	}
	b := &bridgeProcess{t: t, launch: text, heard: make(chan string, 10)}
	b.start()
	return b
}

// start returns when the bridge has connected to both sides.
func (b *bridgeProcess) start() {
	b.t.Helper()
	b.process = exec.Command(os.Args[0])
	b.process.Env = append(os.Environ(), envBridge+"="+string(b.launch), "GORACE=report_bugs=0")
	var log bytes.Buffer
	b.process.Stderr = &log
	output, err := b.process.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if b.input, err = b.process.StdinPipe(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.process.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.ended = make(chan struct{})
	go func() {
		defer close(b.ended)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			b.heard <- lines.Text()
		}
		err := b.process.Wait()
		b.t.Logf("the bridge has logged, and ended with %v:\n%s", err, log.String())
	}()
	b.t.Cleanup(b.stop)
	receive(b.t, "the bridge", b.heard, func(text string) bool { return text == "ready" })
}

// stop ends the bridge as its owner does.
func (b *bridgeProcess) stop() {
	b.t.Helper()
	_ = b.input.Close()
	select {
	case <-b.ended:
	case <-time.After(patience):
		_ = b.process.Process.Kill()
		<-b.ended
		b.t.Error("the bridge does not end")
	}
}

func (b *bridgeProcess) say(chat, who, text string) {
	b.t.Helper()
	if err := json.NewEncoder(b.input).Encode(line{chat, who, text}); err != nil {
		b.t.Fatal(err)
	}
}
