package goclient_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/verificationhelper"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// patience bounds every wait: far more than anything takes on an idle machine.
const patience = 2 * time.Minute

const password = "correct horse"

// A place is a homeserver, and the devices that are logged in there.
type place struct {
	*testkit.Trestle
	devices []*device
}

// A device is one of a person's clients, with keys of its own. It syncs while
// the test waits for something: the library is not made for two goroutines.
type device struct {
	*mautrix.Client
	t       *testing.T
	place   *place
	machine *crypto.OlmMachine
	verify  *verificationhelper.VerificationHelper
	since   string
	seen    []*event.Event // of rooms, as they came
	checks  checks
}

// register makes an account, and its first device.
func register(t *testing.T, server *place, name string) *device {
	t.Helper()
	d := connect(t, server)
	res, err := d.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	d.UserID, d.DeviceID, d.AccessToken = res.UserID, res.DeviceID, res.AccessToken
	d.begin()
	return d
}

// login makes another device of an account.
func login(t *testing.T, server *place, name string) *device {
	t.Helper()
	d := connect(t, server)
	_, err := d.Login(t.Context(), &mautrix.ReqLogin{
		Type:             mautrix.AuthTypePassword,
		Identifier:       mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: name},
		Password:         password,
		StoreCredentials: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.begin()
	return d
}

func connect(t *testing.T, server *place) *device {
	t.Helper()
	client, err := mautrix.NewClient(server.BaseURL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client = &http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport), Timeout: 2 * time.Minute}
	client.DefaultHTTPRetries = 0
	return &device{Client: client, t: t, place: server}
}

// begin uploads the device's keys, and has it sync from then on.
func (d *device) begin() {
	d.t.Helper()
	state := mautrix.NewMemoryStateStore().(*mautrix.MemoryStateStore)
	state.JoinRules = map[id.RoomID]*event.JoinRulesEventContent{} // which the library forgets to make
	d.StateStore = state
	d.machine = crypto.NewOlmMachine(d.Client, nil, crypto.NewMemoryStore(nil), state)
	d.must(d.machine.Load(d.t.Context()))
	d.Crypto = megolm{d}
	syncer := d.Syncer.(*mautrix.DefaultSyncer)
	syncer.OnSync(d.machine.ProcessSyncResponse)
	syncer.OnEvent(d.StateStoreSyncHandler)
	syncer.OnEventType(event.StateMember, d.machine.HandleMemberEvent)
	syncer.OnEvent(d.note)
	d.verify = verificationhelper.NewVerificationHelper(d.Client, d.machine, nil, d, false, false, true)
	d.must(d.verify.Init(d.t.Context()))
	syncer.OnEventType(event.ToDeviceVerificationMAC, func(context.Context, *event.Event) { d.checks.code = true })
	d.must(d.machine.ShareKeys(d.t.Context(), 0))
	d.place.devices = append(d.place.devices, d)
	d.t.Cleanup(d.machine.Destroy)
}

// logout ends the device.
func (d *device) logout() {
	d.t.Helper()
	_, err := d.Logout(d.t.Context())
	d.must(err)
	d.place.devices = slices.DeleteFunc(d.place.devices, func(other *device) bool { return other == d })
}

// sync takes what is new, or waits a moment for it.
func (d *device) sync() {
	d.t.Helper()
	since := d.since
	res, err := d.FullSyncRequest(d.t.Context(), mautrix.ReqSync{Since: since, Timeout: 10})
	d.must(err)
	d.since = res.NextBatch
	d.must(d.Syncer.ProcessResponse(d.t.Context(), res, since))
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("%s of %s: %v", d.DeviceID, d.UserID, err)
	}
}

// note keeps what has come.
func (d *device) note(_ context.Context, e *event.Event) {
	if e.RoomID != "" {
		d.seen = append(d.seen, e)
	}
}

// until has all devices sync until this one knows something.
func (d *device) until(what string, condition func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s of %s never sees %s", d.DeviceID, d.UserID, what)
		}
		for _, device := range slices.Clone(d.place.devices) {
			device.sync()
		}
	}
}

// member waits until somebody's membership of a room is so.
func (d *device) member(room id.RoomID, user id.UserID, membership event.Membership) {
	d.t.Helper()
	d.until(string(user)+"'s "+string(membership), func() bool {
		return d.StateStore.IsMembership(d.t.Context(), room, user, membership)
	})
}

// knows waits until the device has the keys of another.
func (d *device) knows(other *device) {
	d.t.Helper()
	d.until("that there is "+string(other.DeviceID), func() bool {
		known, err := d.machine.CryptoStore.GetDevice(d.t.Context(), other.UserID, other.DeviceID)
		d.must(err)
		return known != nil
	})
}

// says sends a message; it has to leave the device encrypted.
func (d *device) says(room id.RoomID, text string) id.EventID {
	d.t.Helper()
	sent, err := d.SendText(d.t.Context(), room, text)
	d.must(err)
	return sent.EventID
}

// event waits for an event, as the server has it.
func (d *device) event(room id.RoomID, wanted id.EventID) *event.Event {
	d.t.Helper()
	var found *event.Event
	d.until(string(wanted), func() bool {
		i := slices.IndexFunc(d.seen, func(e *event.Event) bool { return e.RoomID == room && e.ID == wanted })
		if i >= 0 {
			found = d.seen[i]
		}
		return found != nil
	})
	if found.Type != event.EventEncrypted {
		d.t.Fatalf("%s is a %s, not encrypted", wanted, found.Type.Type)
	}
	return found
}

// reads waits until the device has decrypted a message.
func (d *device) reads(room id.RoomID, wanted id.EventID, text string) {
	d.t.Helper()
	encrypted := d.event(room, wanted)
	var plain *event.Event
	d.until("the key for "+string(wanted), func() (ok bool) {
		var err error
		plain, err = d.machine.DecryptMegolmEvent(d.t.Context(), encrypted)
		return err == nil
	})
	if got := plain.Content.AsMessage().Body; got != text {
		d.t.Fatalf("%s reads %q, not %q", d.UserID, got, text)
	}
}

// cannotRead says that the device has an event, and no key for it.
func (d *device) cannotRead(room id.RoomID, wanted id.EventID) {
	d.t.Helper()
	_, err := d.machine.DecryptMegolmEvent(d.t.Context(), d.event(room, wanted))
	if !errors.Is(err, crypto.NoSessionFound) {
		d.t.Fatalf("%s decrypts %s: %v", d.UserID, wanted, err)
	}
}

// megolm encrypts what the client sends into encrypted rooms.
type megolm struct{ *device }

// Encrypt shares the room's key with those who do not have it.
func (m megolm) Encrypt(ctx context.Context, room id.RoomID, kind event.Type, content any) (*event.EncryptedEventContent, error) {
	encrypted, err := m.machine.EncryptMegolmEvent(ctx, room, kind, content)
	if !crypto.IsShareError(err) {
		return encrypted, err
	}
	members, err := m.StateStore.GetRoomJoinedOrInvitedMembers(ctx, room)
	if err != nil {
		return nil, err
	}
	if err := m.machine.ShareGroupSession(ctx, room, members); err != nil {
		return nil, err
	}
	return m.machine.EncryptMegolmEvent(ctx, room, kind, content)
}

func (m megolm) Decrypt(ctx context.Context, e *event.Event) (*event.Event, error) {
	return m.machine.DecryptMegolmEvent(ctx, e)
}

func (m megolm) WaitForSession(ctx context.Context, room id.RoomID, sender id.SenderKey, session id.SessionID, timeout time.Duration) bool {
	return m.machine.WaitForSession(ctx, room, sender, session, timeout)
}

// RequestSession asks nobody: the tests say who has a key and who has none.
func (m megolm) RequestSession(context.Context, id.RoomID, id.SenderKey, id.SessionID, id.UserID, id.DeviceID) {
}

func (m megolm) Init(context.Context) error { return nil }
