package encryption_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/bridges/encryption"
	"trestle/internal/testkit"
)

func unreadable(t *testing.T, err error, why string) {
	t.Helper()
	known, ok := errors.AsType[*encryption.Unreadable](err)
	if !ok || !strings.Contains(known.Why, why) {
		t.Errorf("it is unreadable because of %v, not %q", err, why)
	}
}

// eventually tries something until it works.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestBothWays(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		alice := w.person("alice")
		w.settle()
		first := w.arrives(alice.says("hello", id.UserID(bot)))
		w.opens(first, "hello")
		if got := alice.reads(w.says("hello, alice", alice)); got != "hello, alice" {
			t.Errorf("alice reads %q", got)
		}
		key := w.service.Device(bot)
		w.restart()
		w.opens(first, "hello") // once more, as after a crash
		second := w.arrives(alice.repeats("again"))
		w.opens(second, "again")
		if got := alice.reads(w.says("as before", alice)); got != "as before" {
			t.Errorf("alice reads %q", got)
		}
		if now := w.service.Device(bot); now != key {
			t.Errorf("the device was %s and is %s", key, now)
		}

		repeated := *second.Event
		repeated.ID = "$another"
		_, err := w.service.Open(t.Context(), &repeated, bot)
		unreadable(t, err, "repetition")
		moved := *second.Event
		moved.RoomID = "!another:localhost"
		_, err = w.service.Open(t.Context(), &moved, bot)
		unreadable(t, err, "no key")
		stolen := *second.Event
		stolen.Sender = "@mallory:localhost"
		_, err = w.service.Open(t.Context(), &stolen, bot)
		unreadable(t, err, "no key")

		// Who has the database and not the key file has no keys.
		w.stop()
		w.stop = func() {}
		must(t, os.Remove(w.keys))
		if w.tryStart(func(*encryption.Service) {}) == nil {
			t.Error("the keys are read without the key file")
		}
	})
}

// A process that dies while it opens a message to a device has opened nothing.
func TestDeathLosesNoKey(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		alice := w.person("alice")
		w.settle()
		w.opens(w.arrives(alice.says("before", id.UserID(bot))), "before")
		w.stop()
		w.start(func(s *encryption.Service) { s.FailRemovals(1 << 40) })
		e := w.arrives(alice.says("meanwhile", id.UserID(bot)))
		_, err := w.service.Open(t.Context(), e.Event, bot)
		unreadable(t, err, "no key")
		w.stop()
		w.start(func(s *encryption.Service) { s.FailRemovals(1) })
		eventually(t, func() error { // the work is tried again after a second
			_, err := w.service.Open(t.Context(), e.Event, bot)
			return err
		})
		w.opens(e, "meanwhile")
		w.opens(w.arrives(alice.says("after", id.UserID(bot))), "after")
	})
}

// Only those have the key to a message who were to read it, whoever had the last one.
func TestOnlyReadersRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.SQLite(t))
	alice, carol := w.person("alice"), w.person("carol")
	w.settle()
	for _, c := range []struct {
		body    string
		readers []*person
		carol   bool
	}{
		{"for both", []*person{alice, carol}, true},
		{"for alice", []*person{alice}, false},
		{"for both again", []*person{carol, alice}, true},
		{"for nobody", nil, false},
	} {
		said := w.says(c.body, c.readers...)
		if got := alice.reads(said); (got == c.body) != (len(c.readers) > 0) {
			t.Errorf("%q: alice reads %q", c.body, got)
		}
		if got := carol.reads(said); (got == c.body) != c.carol {
			t.Errorf("%q: carol reads %q", c.body, got)
		}
	}
	laptop := alice.login()
	for try := 0; ; try++ {
		if laptop.reads(w.says("on all devices"+strings.Repeat("!", try), alice)) != "" {
			break
		}
		if try == 100 {
			t.Fatal("alice's new device is given no key")
		}
	}
}

// A key that is missing is asked for; if it comes it is taken, and if not, that is said.
func TestMissingKeysAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.SQLite(t))
	alice, carol := w.person("alice"), w.person("carol")
	w.settle()
	lost := w.arrives(carol.says("lost", carol.UserID))
	_, err := w.service.Open(t.Context(), lost.Event, bot)
	unreadable(t, err, "got none when it asked")
	carol.until("that the bridge asks for the key", func() bool { return len(carol.asked) > 0 })
	again := w.arrives(carol.says("lost, too", carol.UserID))
	_, err = w.service.Open(t.Context(), again.Event, bot)
	unreadable(t, err, "no key")
	if carol.reads(again.ID); len(carol.asked) != 1 {
		t.Error("the room is held up for another key")
	}

	found := w.arrives(alice.says("found", alice.UserID))
	_, err = w.service.Open(t.Context(), found.Event, bot)
	unreadable(t, err, "got none when it asked")
	alice.until("that the bridge asks for the other key, too", func() bool { return len(alice.asked) > 0 })
	request := alice.asked[0]
	alice.machine.HandleRoomKeyRequest(t.Context(), request.Sender, request.Content.AsRoomKeyRequest())
	eventually(t, func() error {
		_, err := w.service.Open(t.Context(), found.Event, bot)
		return err
	})
	w.opens(found, "found")

	// A key that nobody has asked for is not taken.
	unasked := w.arrives(alice.says("unasked", alice.UserID))
	content := unasked.Content.AsEncrypted()
	pushed := *request.Content.AsRoomKeyRequest()
	pushed.Body.SessionID = content.SessionID
	alice.machine.HandleRoomKeyRequest(t.Context(), request.Sender, &pushed)
	w.opens(w.arrives(alice.says("for the bridge", id.UserID(bot))), "for the bridge") // it comes after the key
	_, err = w.service.Open(t.Context(), unasked.Event, "")
	unreadable(t, err, "no key")

	// If it is withheld, it is said why.
	e := w.arrives(alice.says("secret", alice.UserID))
	content = e.Content.AsEncrypted()
	_, err = alice.SendToDevice(t.Context(), event.ToDeviceRoomKeyWithheld, &mautrix.ReqSendToDevice{Messages: map[id.UserID]map[id.DeviceID]*event.Content{
		id.UserID(bot): {id.DeviceID(w.service.Device(bot)): {Parsed: &event.RoomKeyWithheldEventContent{
			RoomID: e.RoomID, Algorithm: id.AlgorithmMegolmV1, SessionID: content.SessionID, SenderKey: content.SenderKey,
			Code: event.RoomKeyWithheldBlacklisted,
		}}},
	}})
	must(t, err)
	eventually(t, func() error {
		_, err := w.service.Open(t.Context(), e.Event, bot)
		if known, ok := errors.AsType[*encryption.Unreadable](err); ok && strings.Contains(known.Why, "blocked") {
			return nil
		}
		return err
	})
}

// The bridge makes more keys when others have used them up, and another device when the homeserver
// has lost the one there was.
func TestDevicesAreKeptUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.SQLite(t))
	alice := w.person("alice")
	w.settle()
	before := w.service.Device(bot)
	claimed := 0
	alice.until("that there are more keys", func() bool {
		for range 10 {
			res, err := alice.ClaimKeys(t.Context(), &mautrix.ReqClaimKeys{OneTimeKeys: mautrix.OneTimeKeysRequest{
				id.UserID(bot): {id.DeviceID(before): id.KeyAlgorithmSignedCurve25519},
			}})
			must(t, err)
			claimed += len(res.OneTimeKeys[id.UserID(bot)])
		}
		return claimed > 60
	})
	api := w.client.Bot().Device(before, func(context.Context) error { return nil })
	must(t, api.DeleteDevice(t.Context(), id.DeviceID(before), &mautrix.ReqDeleteDevice{}))
	if got := alice.reads(w.says("new keys", alice)); got != "new keys" {
		t.Errorf("alice reads %q", got)
	}
	if now := w.service.Device(bot); now == before {
		t.Error("it is the same device")
	}
}

// A list that changes while it is asked for is not known.
func TestChangesOvertakeAnswers(t *testing.T) {
	d := encryption.NewDirectory()
	answer := d.Ask("@alice:hs")
	d.Changed("@alice:hs")
	answer(nil)
	if d.Known("@alice:hs") {
		t.Error("an old list is taken for a new one")
	}
	d.Ask("@alice:hs")(nil)
	if !d.Known("@alice:hs") {
		t.Error("a new list is not taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"m.room.encrypted","sender":"@a:hs","to_user_id":"@b:hs","to_device_id":"D","content":{"algorithm":"m.olm.v1.curve25519-aes-sha2","sender_key":"k","ciphertext":{"x":{"type":0,"body":"AA"}}}}`))
	f.Add([]byte(`{"type":"m.room_key.withheld","sender":"@a:hs","content":{"code":"m.unverified"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := encryption.Parse(json.RawMessage(bytes.Clone(raw)))
		if e == nil {
			return
		}
		if e.Content.Parsed == nil || e.Type.Type != "m.room.encrypted" && !strings.HasSuffix(e.Type.Type, "room_key.withheld") {
			t.Errorf("%s became %+v", raw, e)
		}
	})
}
