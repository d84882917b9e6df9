//go:build cgo && libsqlite3

package asstory_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// bridgeConfig is what the configuration file of such a bridge has, if its owner
// wants encryption by transactions, and people to be themselves on both sides.
func bridgeConfig(address, homeserver string) *bridgeconfig.Config {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.ParseUint(port, 10, 16)
	return &bridgeconfig.Config{
		Bridge: bridgeconfig.BridgeConfig{
			CommandPrefix: "!memory",
			Permissions:   bridgeconfig.PermissionConfig{"localhost": &bridgeconfig.PermissionLevelAdmin},
		},
		Homeserver: bridgeconfig.HomeserverConfig{Address: homeserver, Domain: "localhost", Software: bridgeconfig.SoftwareStandard},
		AppService: bridgeconfig.AppserviceConfig{
			Address: "http://" + address, Hostname: host, Port: uint16(number), ID: "memory", EphemeralEvents: true,
			Bot: bridgeconfig.BotUserConfig{Username: "memorybot", Displayname: "Memory"}, UsernameTemplate: "memory_{{.}}",
		},
		Encryption: bridgeconfig.EncryptionConfig{
			Allow: true, Default: true, Require: true, Appservice: true, MSC4190: true, SelfSign: true, PickleKey: "pickle",
		},
	}
}

// registerBridge writes the registration as the bridge generates it. The service
// may act as people, too.
func registerBridge(t *testing.T, address, file string) {
	t.Helper()
	reg := bridgeConfig(address, "").GenerateRegistration()
	reg.Namespaces.UserIDs.Register(regexp.MustCompile("@.*:localhost"), false)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := reg.Save(file); err != nil {
		t.Fatal(err)
	}
}

// TestABridgeByBridgev2 has a bridge of the framework that mautrix's bridges are
// made with: somebody logs in by talking to its bot, a room comes to be when
// somebody on the network speaks, and everything is encrypted.
func TestABridgeByBridgev2(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		data := filepath.Join(t.TempDir(), "data")
		address := testkit.FreeAddress(t)
		registration := filepath.Join(data, "appservices", "memory.yaml")
		registerBridge(t, address, registration)
		options := testkit.TrestleOptions{Data: data, Args: []string{"--open-registration"}}
		if filepath.Ext(database) == "" {
			options.Database = database
		}
		trestle := testkit.StartTrestle(t, options)
		memory := newBridgeProcess(t, address, testkit.SpecProxy(t, trestle.BaseURL), registration)
		alice := newReader(t, trestle, "alice")
		const bot = id.UserID("@memorybot:localhost")

		chat := encryptedRoom(t, alice, bot)
		sayEncrypted(t, &alice.using, alice.machine, chat, "login", bot, alice.client.UserID)
		receive(t, "the bot to ask", alice.said, func(body string) bool { return body == "Please enter your name" })
		sayEncrypted(t, &alice.using, alice.machine, chat, "alice", bot, alice.client.UserID)
		receive(t, "the bot to welcome", alice.said, func(body string) bool { return body == "Welcome, alice" })

		memory.say("tea", "bob", "hello from afar")
		receive(t, "bob", alice.said, func(body string) bool { return body == "hello from afar" })
		portal := alice.portal(t, "The chat tea")
		sayEncrypted(t, &alice.using, alice.machine, portal, "hello, bob", bot, alice.client.UserID)
		receive(t, "the network to hear", memory.heard, func(text string) bool { return text == "alice in tea: hello, bob" })

		memory.say("tea", "alice", "from my telephone")
		memory.say("tea", "bob", "I see you are")
		receive(t, "bob's answer", alice.said, func(body string) bool { return body == "I see you are" })
		alice.puppeted(t, portal)

		memory.stop()
		memory.start()
		memory.say("tea", "bob", "still there?")
		receive(t, "bob after a restart", alice.said, func(body string) bool { return body == "still there?" })
		sayEncrypted(t, &alice.using, alice.machine, portal, "yes", bot, alice.client.UserID)
		receive(t, "the network to hear after a restart", memory.heard, func(text string) bool { return text == "alice in tea: yes" })
	})
}

// encryptedRoom is one with a bot that joins when it is invited.
func encryptedRoom(t *testing.T, r *reader, bot id.UserID) id.RoomID {
	t.Helper()
	encryption := event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}
	made, err := r.client.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{
		Invite: []id.UserID{bot}, IsDirect: true, Preset: "trusted_private_chat",
		InitialState: []*event.Event{{Type: event.StateEncryption, Content: event.Content{Parsed: &encryption}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.wait(t, "the bot to join", func() bool { return r.states.IsInRoom(t.Context(), made.RoomID, bot) })
	return made.RoomID
}

// wait waits until the reader's client knows something.
func (r *reader) wait(t *testing.T, what string, met func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); !met(); {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s waits in vain for %s", r.client.UserID, what)
		}
	}
}

// portal is the joined room that has a name.
func (r *reader) portal(t *testing.T, name string) (room id.RoomID) {
	t.Helper()
	joined, err := r.client.JoinedRooms(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range joined.JoinedRooms {
		var content event.RoomNameEventContent
		if err := r.client.StateEvent(t.Context(), room, event.StateRoomName, "", &content); err == nil && content.Name == name {
			return room
		}
	}
	t.Fatalf("%s is not in %s", r.client.UserID, name)
	return ""
}

// puppeted waits for an encrypted event that the bridge has sent as the reader.
func (r *reader) puppeted(t *testing.T, room id.RoomID) {
	t.Helper()
	r.wait(t, "what she has said elsewhere", func() bool {
		page, err := r.client.Messages(t.Context(), room, "", "", mautrix.DirectionBackward, nil, 20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Chunk {
			if _, puppet := e.Content.Raw["fi.mau.double_puppet_source"]; puppet && e.Sender == r.client.UserID && e.Type == event.EventEncrypted {
				return true
			}
		}
		return false
	})
}
