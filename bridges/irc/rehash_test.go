package irc_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	settings "trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/registration"
)

// A configured bridge has a configuration file that a test changes.
type configured struct {
	*irc.Service
	t      *testing.T
	folder string
}

// write makes the file's networks these, each with settings of its own, below those that tests need.
func (c *configured) write(networks ...string) {
	c.t.Helper()
	text := "server_name: " + fakehomeserver.ServerName + "\nbridges:\n  irc:\n    networks:\n"
	for _, network := range networks {
		text += network
	}
	if err := os.WriteFile(filepath.Join(c.folder, "trestle.yaml"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func section(id, addr string, settings ...string) string {
	text := fmt.Sprintf("      %s:\n        enabled: true\n        address: %s\n        tls: false\n        history: shared\n        flood_burst: 1000\n", id, addr)
	for _, setting := range settings {
		text += "        " + setting + "\n"
	}
	return text
}

// startConfigured runs a bridge that was configured by a file.
func startConfigured(t *testing.T, h *fakehomeserver.Homeserver, networks ...string) *configured {
	t.Helper()
	c := &configured{t: t, folder: t.TempDir()}
	c.write(networks...)
	loaded, err := settings.Load(settings.Source{Environ: []string{"TRESTLE_CONFIG=" + filepath.Join(c.folder, "trestle.yaml"), "TRESTLE_DATA=" + c.folder}})
	if err != nil {
		t.Fatal(err)
	}
	service := registration.Generate(irc.ServiceID, "http://127.0.0.1:1", fakehomeserver.Sender)
	service.ASToken, service.HSToken = fakehomeserver.ASToken, fakehomeserver.HSToken
	first, err := irc.FromConfig(loaded, service)
	if err != nil {
		t.Fatal(err)
	}
	first.HomeserverURL = h.URL
	first.Reload = func(context.Context) (irc.Config, error) {
		again, err := loaded.Again()
		if err != nil {
			return irc.Config{}, err
		}
		return irc.FromConfig(again, service)
	}
	c.Service, _ = start(t, h, first)
	return c
}

// rehash gives the command and fails the test if it is refused.
func (c *configured) rehash() (changes irc.Changes) {
	c.t.Helper()
	if err := c.do(http.MethodPost, "/rehash", irc.CommandBody{}, &changes); err != nil {
		c.t.Fatal(err)
	}
	return changes
}

// do gives a command, once the bridge hears them.
func (c *configured) do(method, path string, body irc.CommandBody, into any) error {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		operator, err := irc.Command(filepath.Join(c.folder, irc.ControlFile))
		if err == nil {
			return operator.Do(c.t.Context(), method, path, body, into)
		}
		if !errors.Is(err, irc.ErrNotRunning) || time.Now().After(deadline) {
			c.t.Fatal(err)
		}
	}
}

func TestRehashKeepsConnections(t *testing.T) {
	t.Parallel()
	h, local, other := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{}), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, local.Addr, "bob")
	bob.Join("#trestle")
	bob.Join("#second")
	c := startConfigured(t, h, section("local", local.Addr, "channels: ['#trestle']", "nick: '{localpart}'"))
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	before := c.Ports("local")
	if len(before) != 2 {
		t.Fatalf("the connections are %v", before)
	}

	bans := filepath.Join(c.folder, "bans")
	if err := os.WriteFile(bans, []byte("irc mallory\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.write(section("local", local.Addr, "channels: ['#trestle', '#second']", "nick: 'm-{localpart}'", "ban_file: "+bans,
		"display_name: '{nick} (IRC)'", "alias: 'chat_{network}_{channel}'"), section("other", other.Addr))
	changes := c.rehash()
	if !slices.Equal(changes.Added, []string{"other"}) || len(changes.Removed) > 0 ||
		!slices.Equal(changes.Changed["local"], []string{"nick", "display_name", "channels", "ban_file"}) ||
		!slices.Equal(changes.Restart, []string{"bridges.irc.networks.local.alias"}) {
		t.Errorf("the changes are %+v", changes)
	}
	bob.Expect(":trestle!", "JOIN", "#second")
	join(t, h, carol, "m-carol", bob) // by the old alias; her connection is a new one
	mallory := testkit.DialIRC(t, local.Addr, "mallory")
	mallory.Join("#trestle")
	mallory.Say("#trestle", "buy this")
	dave := testkit.DialIRC(t, local.Addr, "dave")
	dave.Join("#trestle")
	dave.Say("#trestle", "hello")
	h.WaitBody(room, ghost("dave"), "hello")
	if seen := h.Events(room, func(e fakehomeserver.Event) bool { return e.Sender == ghost("mallory") }); len(seen) > 0 {
		t.Errorf("mallory is bridged: %s", seen[0].Content)
	}
	erin := testkit.DialIRC(t, other.Addr, "erin")
	erin.Join("#garden")
	if _, refusal := h.Join(alice, "#irc_other_#garden:localhost"); refusal != "" {
		t.Fatal(refusal)
	}
	erin.Expect(":alice!", "JOIN")

	c.write(section("local", local.Addr, "max_connections: many"))
	err := c.do(http.MethodPost, "/rehash", irc.CommandBody{}, nil)
	if err == nil || !strings.Contains(err.Error(), "trestle.yaml:11: bridges.irc.networks.local.max_connections") {
		t.Errorf("a wrong configuration is answered with %v", err)
	}
	c.write(section("local", local.Addr, "channels: ['#trestle', '#second']", "nick: 'm-{localpart}'", "ban_file: "+bans, "display_name: '{nick} (IRC)'", "alias: 'chat_{network}_{channel}'"))
	if changes := c.rehash(); !slices.Equal(changes.Removed, []string{"other"}) || len(changes.Changed) > 0 {
		t.Errorf("the changes are %+v", changes)
	}
	erin.Expect(":alice!", "QUIT")
	h.Say(room, alice, "still here")
	bob.Expect(":alice!", "PRIVMSG #trestle :still here")
	after := c.Ports("local")
	delete(after, "m-carol")
	if !maps.Equal(before, after) {
		t.Errorf("the connections were %v and are %v", before, after)
	}

	c.write(section("local", local.Addr, "channels: ['#trestle']", "ban_file: ''"))
	c.rehash()
	bob.Expect(":trestle!", "PART #second")
	mallory.Say("#trestle", "now I can")
	h.WaitBody(room, ghost("mallory"), "now I can")
}

func TestOperatorsCommandTheBridge(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := startConfigured(t, h, section("local", server.Addr, "channels: ['#trestle']"), section("nowhere", "127.0.0.1:1", "servers: ['127.0.0.1:2']"))
	room := join(t, h, alice, "alice", bob)
	h.WaitMembership(room, ghost("bob"), "join")

	var status irc.Status
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		if err := c.do(http.MethodGet, "/status", irc.CommandBody{}, &status); err != nil {
			t.Fatal(err)
		}
		if len(status.Networks) == 2 && status.Networks[1].LastError != "" && status.Networks[1].Servers[1].Failures > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the status is %+v", status)
		}
	}
	one, two := status.Networks[0], status.Networks[1]
	if !one.Connected || one.Server != server.Addr || one.Nick != "trestle" || one.Lag < 0 || one.Puppets != 1 || one.Portals != 1 || one.Channels != 1 {
		t.Errorf("the network is %+v", one)
	}
	if two.Connected || two.Lag != -1 || !strings.Contains(two.State, "not connected") || two.Failures == 0 {
		t.Errorf("the network that is not there is %+v", two)
	}
	var rooms []irc.RoomStatus
	if err := c.do(http.MethodGet, "/rooms", irc.CommandBody{}, &rooms); err != nil {
		t.Fatal(err)
	}
	want := irc.RoomStatus{Network: "local", Channel: "#trestle", Room: rooms[0].Room, Alias: "#irc_local_#trestle:localhost", Joined: true, People: 1, Ghosts: 1}
	if len(rooms) != 1 || rooms[0] != want || string(want.Room) != room {
		t.Errorf("the rooms are %+v", rooms)
	}

	var done irc.Connections
	before := c.Ports("local")
	if err := c.do(http.MethodPost, "/reconnect", irc.CommandBody{Network: "local"}, &done); err != nil || done.Connections != 2 {
		t.Errorf("reconnecting: %+v, %v", done, err)
	}
	bob.Expect(":trestle!", "JOIN")
	h.Say(room, alice, "back")
	bob.Expect(":alice!", "PRIVMSG #trestle :back")
	if after := c.Ports("local"); after["alice"] == before["alice"] || after["trestle"] == before["trestle"] {
		t.Errorf("the connections were %v and are %v", before, after)
	}
	if err := c.do(http.MethodPost, "/kick", irc.CommandBody{User: alice, Reason: "enough\r\nQUIT"}, &done); err != nil || done.Connections != 1 {
		t.Errorf("the kick: %+v, %v", done, err)
	}
	bob.Expect(":alice!", "QUIT")
	if e := h.WaitMembership(room, alice, "leave"); !strings.Contains(e.Reason(), "enough") {
		t.Errorf("alice was removed with %s", e.Content)
	}
	for path, body := range map[string]irc.CommandBody{"/kick": {User: carol}, "/reconnect": {Network: "no"}} {
		if err := c.do(http.MethodPost, path, body, nil); err == nil {
			t.Errorf("%s %v is done", path, body)
		}
	}
}

func TestOperatorsCommandsNeedTheToken(t *testing.T) {
	t.Parallel()
	h := fakehomeserver.New(t)
	c := startConfigured(t, h, section("nowhere", "127.0.0.1:1"))
	if err := c.do(http.MethodGet, "/status", irc.CommandBody{}, &irc.Status{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.folder, irc.ControlFile)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Split(string(raw), `"`)[3]
	for _, token := range []string{"", "Bearer ", "Bearer wrong"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("with %q: %s", token, response.Status)
		}
	}
	if _, err := irc.Command(filepath.Join(t.TempDir(), "none")); !errors.Is(err, irc.ErrNotRunning) {
		t.Errorf("without a bridge: %v", err)
	}
}
