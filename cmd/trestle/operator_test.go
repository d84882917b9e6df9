package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/config"
)

// operatorSteps are commands in their order, and what they print. $ROOM stands
// for the only room.
func operatorSteps(t *testing.T, data, room string) {
	t.Helper()
	for _, step := range []struct {
		input, command, want string
		fails                bool
	}{
		{"", "token create sesame --uses 3 --expires 7d", "sesame", false},
		{"", "token create sesame", "There is such a token already", true},
		{"", "token list", "0 of 3 used  until ", false},
		{"", "token delete sesame", "of no use", false},
		{"", "token delete sesame", "no such registration token", true},
		{"", "user list", "@alice:hs.example  user", false},
		{"", "user show alice", "device  ", false},
		{"", "user show @bob:elsewhere", "not of this server", true},
		{"", "user show nobody", "no such user", true},
		{"", "user admin alice", "yes", false},
		{"", "user list lic", "@alice:hs.example  admin", false},
		{"", "user admin alice --revoke", "no.", false},
		{"", "user reset-password alice", "Password: ", false},
		{"another long one\n", "user reset-password alice --password-stdin --keep-devices", "new password", false},
		{"", "room list Den", room, false},
		{"", "room show " + room, "member      @alice:hs.example", false},
		{"", "room admin " + room + " alice", "administrator", false},
		{"", "room block " + room, "yes", false},
		{"", "room block " + room + " --lift", "no", false},
		{"", "room delete " + room, "1 user had to leave", false},
		{"", "room show " + room, "not known", true},
		{"", "report list", "@alice:hs.example  " + room + "  \"too quiet\"", false},
		{"", "report show room 1", "too quiet", false},
		{"", "report show event 1", "no such report", true},
		{"", "report delete room 1", "deleted", false},
		{"", "report delete room 1", "no such report", true},
		{"", "user deactivate alice --erase", "is deactivated", false},
		{"", "user list --all", "deactivated", false},
	} {
		args := append(strings.Fields(step.command), "--data", data)
		r := trestle(t, server{}, step.input, args...)
		if (r.code != 0) != step.fails || !strings.Contains(r.out+r.err, step.want) {
			t.Errorf("trestle %s: code %d\n%s%s\nwant %q", step.command, r.code, r.out, r.err, step.want)
		}
	}
}

// prepare makes a server's folder, whose socket the server listens at.
func prepare(t *testing.T) (data, socket string) {
	t.Helper()
	data, err := os.MkdirTemp("", "trestle") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	socket = filepath.Join(data, "s")
	text := "server_name: hs.example\nlisten: [\"unix:" + socket + "\"]\nopen_registration: true\nno_bridges: true\n" +
		"passwords: {hash: bcrypt, bcrypt_cost: 10}\n"
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return data, socket
}

// serving runs a server until the test, or stop, ends it.
func serving(t *testing.T, data string) (stop func()) {
	t.Helper()
	cfg, err := config.Load(config.Source{Environ: []string{"TRESTLE_DATA=" + data}})
	if err != nil {
		t.Fatal(err)
	}
	log, err := commands{std: streams{nil, io.Discard, t.Output()}}.logger(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- server{}.Run(ctx, cfg, log, func(func(context.Context) (bool, error)) { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the server does not start")
	}
	over := false
	stop = func() {
		if over {
			return
		}
		over = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// people registers alice, who makes a room and reports it.
func people(t *testing.T, socket string) (room string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	token := ""
	post := func(path, body, field string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://trestle/_matrix/client/v3"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		text, _ := answer[field].(string)
		if text == "" && field != "" {
			t.Fatalf("%s: %v", path, answer)
		}
		return text
	}
	token = post("/register", `{"username": "alice", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}`, "access_token")
	room = post("/createRoom", `{"name": "Den", "preset": "public_chat"}`, "room_id")
	post("/rooms/"+room+"/report", `{"reason": "too quiet"}`, "")
	return room
}

func TestOperatorBesideTheServer(t *testing.T) {
	data, socket := prepare(t)
	serving(t, data)
	operatorSteps(t, data, people(t, socket))
}

func TestOperatorWithoutTheServer(t *testing.T) {
	data, socket := prepare(t)
	stop := serving(t, data)
	room := people(t, socket)
	stop()
	operatorSteps(t, data, room)
}

func TestOperatorNeedsAServer(t *testing.T) {
	r := trestle(t, server{}, "", "user", "list", "--data", t.TempDir())
	if r.code != 1 || !strings.Contains(r.err, "there is no server in") {
		t.Errorf("%+v", r)
	}
	for _, command := range []string{"user", "room", "token", "report"} {
		if r := trestle(t, server{}, "", command, "--help"); r.code != 0 || !strings.Contains(r.out, "list") {
			t.Errorf("%+v", r)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[31mb\u202ec\nd é"); got != "a[31mbcd é" {
		t.Errorf("%q", got)
	}
}
