package asstory_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	stock "maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
	"trestle/registration"
)

// patience is how long a test waits for what should happen at once.
const patience = 2 * time.Minute

// A bridge is a service by mautrix-go, which nobody here wrote, with a bot that
// takes everything for encryption from transactions and never calls /sync.
type bridge struct {
	t       *testing.T
	as      *stock.AppService
	bot     *mautrix.Client
	machine *crypto.OlmMachine
	said    chan string // what the bot could read
	counts  chan int    // of the bot's one-time keys
	lists   chan *mautrix.DeviceLists
	using   sync.Mutex // see locked
}

// locked has one thing done with a machine at a time: the library's own
// listener starts a goroutine for each, and they race for the account.
func locked[V any](mu *sync.Mutex, handle func(context.Context, V)) func(context.Context, V) {
	return func(ctx context.Context, v V) {
		mu.Lock()
		defer mu.Unlock()
		handle(ctx, v)
	}
}

// withBridge runs a homeserver and a bridge.
func withBridge(t *testing.T, database string) (*testkit.Trestle, *bridge) {
	t.Helper()
	address, data := testkit.FreeAddress(t), filepath.Join(t.TempDir(), "data")
	file := filepath.Join(data, "appservices", "bridge.yaml")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte("server_name: localhost\nopen_registration: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := registration.Generate("bridge", "http://"+address, "bridge_bot")
	reg.ReceiveEphemeral, reg.PushEphemeral, reg.DeviceLists, reg.DeviceManagement = true, true, true, true
	if err := reg.Write(file); err != nil {
		t.Fatal(err)
	}
	options := testkit.TrestleOptions{Data: data}
	if filepath.Ext(database) == "" {
		options.Database = database
	}
	trestle := testkit.StartTrestle(t, options)
	b := &bridge{t: t, said: make(chan string, 10), counts: make(chan int, 100), lists: make(chan *mautrix.DeviceLists, 100)}
	loaded, err := stock.LoadRegistration(file)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	b.as, err = stock.CreateFull(stock.CreateOpts{
		Registration: loaded, HomeserverDomain: "localhost", HomeserverURL: trestle.BaseURL,
		HostConfig: stock.HostConfig{Hostname: host, Port: uint16(number)},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.as.StateStore = newStates()
	b.encrypt()
	return trestle, b
}

// newStates is the library's memory of rooms; it forgets to make one map.
func newStates() *mautrix.MemoryStateStore {
	states := mautrix.NewMemoryStateStore().(*mautrix.MemoryStateStore)
	states.JoinRules = map[id.RoomID]*event.JoinRulesEventContent{}
	return states
}

// encrypt makes the bot's device and listens.
func (b *bridge) encrypt() {
	b.t.Helper()
	ctx := b.t.Context()
	if err := b.as.BotIntent().EnsureRegistered(ctx); err != nil {
		b.t.Fatal(err)
	}
	b.bot = b.as.BotClient()
	if err := b.bot.CreateDeviceMSC4190(ctx, "BRIDGE", "Bridge"); err != nil {
		b.t.Fatal(err)
	}
	b.bot.DeviceID, b.bot.SetAppServiceDeviceID = "BRIDGE", true
	b.machine = crypto.NewOlmMachine(b.bot, nil, crypto.NewMemoryStore(nil), b.as.StateStore.(*mautrix.MemoryStateStore))
	if err := b.machine.Load(ctx); err != nil {
		b.t.Fatal(err)
	}
	processor := stock.NewEventProcessor(b.as)
	processor.On(event.ToDeviceEncrypted, locked(&b.using, b.machine.HandleToDeviceEvent))
	processor.OnOTK(locked(&b.using, func(ctx context.Context, count *mautrix.OTKCount) {
		b.machine.HandleOTKCounts(ctx, count)
		b.counts <- count.SignedCurve25519
	}))
	processor.OnDeviceList(func(ctx context.Context, lists *mautrix.DeviceLists, since string) {
		b.using.Lock()
		defer b.using.Unlock()
		b.machine.HandleDeviceLists(ctx, lists, since)
		b.lists <- lists
	})
	processor.On(event.EventEncrypted, func(ctx context.Context, e *event.Event) {
		if e.Sender != b.bot.UserID {
			b.said <- decrypted(ctx, b.t, b.machine, e)
		}
	})
	processor.Start(ctx)
	go b.as.Start()
	b.t.Cleanup(func() { b.as.Stop(); processor.Stop() })
	b.using.Lock()
	defer b.using.Unlock()
	if err := b.machine.ShareKeys(ctx, 0); err != nil {
		b.t.Fatal(err)
	}
}

// decrypted is what an event says to whoever can read it; the key may still be
// on its way.
func decrypted(ctx context.Context, t *testing.T, machine *crypto.OlmMachine, e *event.Event) string {
	plain, err := machine.DecryptMegolmEvent(ctx, e)
	if errors.Is(err, crypto.NoSessionFound) {
		content := e.Content.AsEncrypted()
		machine.WaitForSession(ctx, e.RoomID, content.SenderKey, content.SessionID, patience)
		plain, err = machine.DecryptMegolmEvent(ctx, e)
	}
	if err != nil {
		t.Errorf("%s cannot be read: %v", e.ID, err)
		return ""
	}
	return plain.Content.AsMessage().Body
}

// sayEncrypted sends an encrypted message to everybody in the room.
func sayEncrypted(t *testing.T, mu *sync.Mutex, machine *crypto.OlmMachine, room id.RoomID, body string, to ...id.UserID) {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if err := machine.ShareGroupSession(t.Context(), room, to); err != nil {
		t.Fatal(err)
	}
	content := event.MessageEventContent{MsgType: event.MsgText, Body: body}
	encrypted, err := machine.EncryptMegolmEvent(t.Context(), room, event.EventMessage, &content)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := machine.Client.SendMessageEvent(t.Context(), room, event.EventEncrypted, encrypted); err != nil {
		t.Fatal(err)
	}
}

func receive[V any](t *testing.T, what string, from <-chan V, wanted func(V) bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case v := <-from:
			if wanted(v) {
				return
			}
		case <-timeout:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A reader is a person with a client that syncs and can read.
type reader struct {
	client  *mautrix.Client
	machine *crypto.OlmMachine
	states  *mautrix.MemoryStateStore
	said    chan string
	using   sync.Mutex
}

func newReader(t *testing.T, trestle *testkit.Trestle, name string) *reader {
	t.Helper()
	client, err := mautrix.NewClient(trestle.BaseURL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	client.UserID, client.AccessToken, client.DeviceID = res.UserID, res.AccessToken, res.DeviceID
	r := &reader{client: client, states: newStates(), said: make(chan string, 10)}
	client.StateStore = r.states
	r.machine = crypto.NewOlmMachine(client, nil, crypto.NewMemoryStore(nil), r.states)
	if err := r.machine.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.machine.ShareKeys(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	syncer := mautrix.NewDefaultSyncer()
	syncer.OnSync(func(ctx context.Context, res *mautrix.RespSync, since string) bool {
		r.using.Lock()
		defer r.using.Unlock()
		return r.machine.ProcessSyncResponse(ctx, res, since)
	})
	syncer.OnEvent(client.StateStoreSyncHandler)
	syncer.OnEventType(event.EventEncrypted, func(ctx context.Context, e *event.Event) {
		if e.Sender != client.UserID {
			r.said <- decrypted(ctx, t, r.machine, e)
		}
	})
	client.Syncer = syncer
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- client.SyncWithContext(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

// A bridge that a stranger wrote reads and writes in an encrypted room by
// transactions alone.
func TestAStockBridgeReadsAndWritesEncrypted(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		trestle, b := withBridge(t, database)
		ctx := t.Context()
		alice := newReader(t, trestle, "alice")
		encryption := event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}
		made, err := b.bot.CreateRoom(ctx, &mautrix.ReqCreateRoom{
			Invite:       []id.UserID{alice.client.UserID},
			InitialState: []*event.Event{{Type: event.StateEncryption, Content: event.Content{Parsed: &encryption}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		room := made.RoomID
		if _, err := alice.client.JoinRoomByID(ctx, room); err != nil {
			t.Fatal(err)
		}
		receive(t, "alice's devices", b.lists, func(lists *mautrix.DeviceLists) bool {
			return slices.Contains(lists.Changed, "@alice:localhost")
		})
		for _, states := range []mautrix.StateStore{alice.states, b.as.StateStore} {
			if err := states.SetEncryptionEvent(ctx, room, &encryption); err != nil {
				t.Fatal(err)
			}
		}
		sayEncrypted(t, &alice.using, alice.machine, room, "hello, bridge", b.bot.UserID, alice.client.UserID)
		receive(t, "the bot to read", b.said, func(body string) bool { return body == "hello, bridge" })
		sayEncrypted(t, &b.using, b.machine, room, "hello, alice", b.bot.UserID, alice.client.UserID)
		receive(t, "alice to read", alice.said, func(body string) bool { return body == "hello, alice" })
		receive(t, "the count of the bot's keys", b.counts, func(n int) bool { return n > 0 })
	})
}
