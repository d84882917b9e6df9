package ircstory_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto/attachment"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

const theBot = id.UserID("@irc_bot:localhost")

// encrypting runs a homeserver whose bridge takes part in encrypted rooms, and has #club for the
// room with that alias.
func encrypting(t *testing.T, database string, irc *testkit.IRCServer, how string) *testkit.Trestle {
	t.Helper()
	options := testkit.TrestleOptions{}
	if filepath.Ext(database) == "" {
		options.Database = database
	}
	return startWith(t, options, fmt.Sprintf(`
        address: %s
        direct_messages: all
        encryption: %s
        mappings: [{channel: "#club", room: "#club:localhost"}]`, irc.Addr, how))
}

// makeClub makes the room that #club is to have.
func makeClub(alice *confidant) id.RoomID {
	alice.t.Helper()
	return alice.encryptedRoom(mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "club", PowerLevelOverride: &event.PowerLevelsEventContent{
		Users: map[id.UserID]int{theBot: 100},
	}})
}

// joinClub has the bridge find the room at its next start, and alice in it.
func joinClub(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle, alice *confidant, club id.RoomID) *testkit.IRCClient {
	t.Helper()
	bob := testkit.DialIRC(t, irc.Addr, "bob")
	bob.Join("#club")
	trestle.Kill()
	trestle.Start()
	bob.ExpectJoins("trestle", "alice")
	alice.seesIn(club, theBot)
	alice.knows(theBot)
	return bob
}

// TestEncryptedRooms has alice talk to bob, who is on IRC, in rooms that nobody but their members
// can read: alone, and in a channel that has such a room. It goes on after a crash.
func TestEncryptedRooms(t *testing.T) {
	for _, c := range []struct {
		how      string
		irc      func(testing.TB, testkit.IRCOptions) *testkit.IRCServer
		database func(testing.TB) string
	}{
		{"users", testkit.Ngircd, testkit.SQLite},
		{"bot", testkit.Inspircd, testkit.Postgres},
	} {
		t.Run(c.how, func(t *testing.T) {
			t.Parallel()
			irc := c.irc(t, testkit.IRCOptions{})
			trestle := encrypting(t, c.database(t), irc, c.how)
			alice := newConfidant(t, trestle, "alice")
			alice.machine.SendKeysMinTrust = id.TrustStateCrossSignedUntrusted // as MSC4153 wants it
			club := makeClub(alice)
			bob := joinClub(t, irc, trestle, alice, club)

			made, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "trusted_private_chat", IsDirect: true, Invite: []id.UserID{ghost}})
			alice.must(err)
			alone := made.RoomID
			alice.seesIn(alone, ghost)
			_, err = alice.SendText(t.Context(), alone, "can we talk?")
			alice.must(err)
			bob.Expect(":alice!", "PRIVMSG bob :can we talk?")
			alice.encryptsRoom(alone)
			alice.says(alone, "psst")
			bob.Expect(":alice!", "PRIVMSG bob :psst")
			bob.Say("alice", "yes?")
			alice.hears(alone, ghost, "yes?")

			alice.says(club, "hello, club")
			bob.Expect(":alice!", "PRIVMSG #club :hello, club")
			bob.Say("#club", "hello, alice")
			alice.hears(club, ghost, "hello, alice")
			alice.seesIn(club, ghost)

			trestle.Kill()
			trestle.Start()
			bob.Expect(":alice!", "JOIN")
			alice.says(club, "still here")
			alice.says(alone, "you too?")
			bob.ExpectEach("PRIVMSG #club :still here", "PRIVMSG bob :you too?")
			bob.Say("alice", "as ever")
			bob.Say("#club", "so am I")
			alice.hears(alone, ghost, "as ever")
			alice.hears(club, ghost, "so am I")
			for room, body := range map[id.RoomID]string{alone: "yes?", club: "hello, alice"} {
				if times := alice.hears(room, ghost, body); times != 1 {
					t.Errorf("%q was said %d times", body, times)
				}
			}
			sealsFiles(t, alice, club, bob, "PRIVMSG #club :")
			sealsFiles(t, alice, alone, bob, "PRIVMSG bob :")
			commands(alice)
			withholds(t, alice, club, bob)
		})
	}
}

// TestEncryptionIsSwitchedWhileTheBridgeRuns has a bridge that takes no part in encrypted rooms take part in those that
// there are, and no longer, by its configuration alone.
func TestEncryptionIsSwitchedWhileTheBridgeRuns(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		irc := testkit.Ngircd(t, testkit.IRCOptions{})
		trestle := encrypting(t, database, irc, "off")
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		alice := newConfidant(t, trestle, "alice")
		made, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "trusted_private_chat", IsDirect: true, Invite: []id.UserID{ghost}})
		alice.must(err)
		alone := made.RoomID
		alice.seesIn(alone, ghost)
		alice.encryptsRoom(alone)
		alice.until("that bob cannot read", func() bool {
			return slices.ContainsFunc(alice.seen, func(e *event.Event) bool {
				return e.Sender == ghost && strings.Contains(e.Content.AsMessage().Body, "This room is encrypted")
			})
		})
		config := filepath.Join(trestle.Data, "trestle.yaml")
		before, err := os.ReadFile(config)
		alice.must(err)
		set := func(how string) {
			t.Helper()
			alice.must(os.WriteFile(config, []byte(strings.Replace(string(before), "encryption: off", "encryption: "+how, 1)), 0o600))
			if said := trestle.Command("", "bridge", "irc", "rehash"); !strings.Contains(said, "local: in force: encryption") {
				t.Errorf("the rehash says %q", said)
			}
		}
		set("users")
		alice.knows(ghost)
		alice.says(alone, "psst")
		bob.Expect(":alice!", "PRIVMSG bob :psst")
		bob.Say("alice", "yes?")
		alice.hears(alone, ghost, "yes?")
		set("off")
		bob.Say("alice", "now everybody can read it")
		alice.until("what everybody can read", func() bool {
			return slices.ContainsFunc(alice.seen, func(e *event.Event) bool {
				return e.Sender == ghost && e.Type == event.EventMessage && e.Content.AsMessage().Body == "now everybody can read it"
			})
		})
	})
}

// sealsFiles has alice send a picture that only its readers can see, and whoever bob's link is for.
func sealsFiles(t *testing.T, alice *confidant, room id.RoomID, bob *testkit.IRCClient, said string) {
	t.Helper()
	file, contents := attachment.NewEncryptedFile(), []byte("GIF89a picture")
	file.EncryptInPlace(contents)
	uploaded, err := alice.UploadMedia(t.Context(), mautrix.ReqUploadMedia{
		ContentBytes: contents, ContentType: "application/octet-stream",
	})
	alice.must(err)
	picture := alice.sends(room, alice.encrypts(room, &event.MessageEventContent{
		MsgType: event.MsgImage, Body: "cat.gif", Info: &event.FileInfo{MimeType: "image/gif"},
		File: &event.EncryptedFileInfo{EncryptedFile: *file, URL: uploaded.ContentURI.CUString()},
	}))
	line := bob.Expect(":alice!", said, "sent cat.gif: http://", "/_trestle/irc/media/")
	address := line[strings.Index(line, "http://"):]
	if status, body := get(t, address); status != http.StatusOK || body != "GIF89a picture" {
		t.Errorf("%s is %d %q", address, status, body)
	}
	_, err = alice.RedactEvent(t.Context(), room, picture)
	alice.must(err)
	if status, body := get(t, address); status != http.StatusGone {
		t.Errorf("after its redaction: %d %q", status, body)
	}
}

// commands has alice talk to the bridge itself.
func commands(alice *confidant) {
	alice.t.Helper()
	room := alice.encryptedRoom(mautrix.ReqCreateRoom{Preset: "trusted_private_chat", IsDirect: true, Invite: []id.UserID{theBot}})
	alice.seesIn(room, theBot)
	alice.hears(room, theBot, "Hello! Say “help” to see what I can do.")
	alice.says(room, "networks")
	alice.hears(room, theBot, "local (local): connected; 1 people of Matrix")
}

// withholds has alice not let the bridge have a key: that is said on the message.
func withholds(t *testing.T, alice *confidant, room id.RoomID, bob *testkit.IRCClient) {
	t.Helper()
	alice.must(alice.machine.CryptoStore.RemoveOutboundGroupSession(t.Context(), room))
	content := alice.encrypts(room, plain("not for you"), alice.UserID)
	devices, err := alice.machine.FetchKeys(t.Context(), []id.UserID{theBot}, true)
	alice.must(err)
	messages := map[id.DeviceID]*event.Content{}
	for device := range devices[theBot] {
		messages[device] = &event.Content{Parsed: &event.RoomKeyWithheldEventContent{
			RoomID: room, Algorithm: id.AlgorithmMegolmV1, SessionID: content.SessionID, SenderKey: content.SenderKey,
			Code: event.RoomKeyWithheldUnverified,
		}}
	}
	_, err = alice.SendToDevice(t.Context(), event.ToDeviceRoomKeyWithheld, &mautrix.ReqSendToDevice{
		Messages: map[id.UserID]map[id.DeviceID]*event.Content{theBot: messages},
	})
	alice.must(err)
	sent := alice.sends(room, content)
	alice.until("that the message did not arrive", func() bool {
		for _, e := range alice.seen {
			if e.Sender != theBot || e.Type != event.EventEncrypted || e.Content.AsEncrypted().RelatesTo.GetReplyTo() != sent {
				continue
			}
			plain, err := alice.machine.DecryptMegolmEvent(t.Context(), e)
			if err == nil && strings.Contains(plain.Content.AsMessage().Body, "not verified") {
				return true
			}
		}
		return false
	})
	alice.must(alice.machine.CryptoStore.RemoveOutboundGroupSession(t.Context(), room))
	alice.says(room, "the end")
	if line := bob.Expect(":alice!", "PRIVMSG #club :"); !strings.HasSuffix(line, "the end") {
		t.Errorf("IRC hears %q", line)
	}
}
