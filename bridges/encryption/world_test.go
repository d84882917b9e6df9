package encryption_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/bridges/encryption"
	"trestle/bridges/vault"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
	"trestle/registration"
)

// patience bounds every wait: far more than anything takes on an idle machine.
const patience = 2 * time.Minute

const bot = matrix.UserID("@bridge_bot:localhost")

// A world is a homeserver, and a bridge that does nothing but open what it is sent.
type world struct {
	t       *testing.T
	trestle *testkit.Trestle
	reg     *registration.Registration
	address string
	store   string // the bridge's database
	keys    string // the file with its keys
	room    matrix.RoomID
	people  []*person

	client  *client.Client
	service *encryption.Service
	stop    func()
	events  chan *client.Event

	between []func(http.RoundTripper) http.RoundTripper // on the bridge's way to the homeserver
}

func newWorld(t *testing.T, store string, between ...func(http.RoundTripper) http.RoundTripper) *world {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	w := &world{t: t, address: testkit.FreeAddress(t), store: store, keys: filepath.Join(t.TempDir(), "keys"), events: make(chan *client.Event, 100), between: between}
	w.reg = registration.Generate("bridge", "http://"+w.address, "bridge_bot")
	w.reg.ReceiveEphemeral, w.reg.DeviceLists, w.reg.DeviceManagement = true, true, true
	file := filepath.Join(data, "appservices", "bridge.yaml")
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	must(t, os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte("server_name: localhost\nopen_registration: true\n"), 0o600))
	must(t, w.reg.Write(file))
	w.trestle = testkit.StartTrestle(t, testkit.TrestleOptions{Data: data})
	w.start(func(*encryption.Service) {})
	t.Cleanup(func() { w.stop() })
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs the bridge; prepare is called before it works.
func (w *world) start(prepare func(*encryption.Service)) {
	w.t.Helper()
	must(w.t, w.tryStart(prepare))
}

func (w *world) tryStart(prepare func(*encryption.Service)) error {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	ctx, cancel := context.WithCancel(context.Background())
	db, err := database.Open(ctx, w.store, migrations.Bridges, database.Options{Log: log})
	must(w.t, err)
	keys, err := vault.Open(w.keys)
	must(w.t, err)
	transport := testkit.SpecTransport(w.t, http.DefaultTransport)
	for _, between := range w.between {
		transport = between(transport)
	}
	w.client, err = client.New(client.Config{
		HomeserverURL: w.trestle.BaseURL, ServerName: "localhost", ASToken: w.reg.ASToken, SenderLocal: "bridge_bot",
		HTTP: &http.Client{Transport: transport, Timeout: time.Minute},
	})
	must(w.t, err)
	w.service, err = encryption.New(ctx, encryption.Options{Client: w.client, DB: db, Vault: keys, Name: "Bridge", Patience: 300 * time.Millisecond, Logger: log})
	if err != nil {
		cancel()
		db.Close()
		return err
	}
	prepare(w.service)
	inbox := client.NewInbox(db, log)
	inbox.Keep = w.service.Keep
	listener, err := net.Listen("tcp", w.address)
	must(w.t, err)
	server := &http.Server{Handler: (&client.Listener{HSToken: w.reg.HSToken, Inbox: inbox, Logger: log}).Handler()}
	var work sync.WaitGroup
	work.Go(func() { w.service.Run(ctx) })
	work.Go(func() { _ = inbox.Run(ctx, w) })
	work.Go(func() { _ = server.Serve(listener) })
	w.stop = func() {
		cancel()
		server.Close()
		work.Wait()
		db.Close()
	}
	return nil
}

// restart makes another bridge of what the last one has stored.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start(func(*encryption.Service) {})
}

// HandleEvent implements client.Handler.
func (w *world) HandleEvent(_ context.Context, e *client.Event, done func()) {
	if e.Type == event.EventEncrypted && matrix.UserID(e.Sender) != bot {
		w.events <- e
	}
	done()
}

// arrives waits for an event.
func (w *world) arrives(wanted id.EventID) *client.Event {
	w.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case e := <-w.events:
			if e.ID == wanted {
				return e
			}
		case <-deadline:
			w.t.Fatalf("%s never comes", wanted)
		}
	}
}

// opens has the bridge read an event. On a busy machine its key may come later than the bridge of the tests has patience.
func (w *world) opens(e *client.Event, body string) {
	w.t.Helper()
	var plain *event.Event
	eventually(w.t, func() (err error) {
		if plain, err = w.service.Open(w.t.Context(), e.Event, bot); err != nil {
			err = fmt.Errorf("%q is not read: %w", body, err)
		}
		return err
	})
	if got := plain.Content.AsMessage().Body; got != body {
		w.t.Fatalf("the bridge reads %q, not %q", got, body)
	}
}

// settle makes the room, with all people in it.
func (w *world) settle() {
	w.t.Helper()
	must(w.t, w.service.Working(w.t.Context()))
	request := &mautrix.ReqCreateRoom{Preset: "private_chat", InitialState: []*event.Event{{
		Type: event.StateEncryption, Content: event.Content{Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}},
	}}}
	for _, p := range w.people {
		request.Invite = append(request.Invite, p.UserID)
	}
	room, err := w.client.Bot().CreateRoom(w.t.Context(), request)
	must(w.t, err)
	w.room = room
	for _, p := range w.people {
		_, err := p.JoinRoomByID(w.t.Context(), id.RoomID(room))
		must(w.t, err)
	}
}

// says has the bot say something to some people.
func (w *world) says(body string, readers ...*person) id.EventID {
	w.t.Helper()
	m := encryption.Message{As: bot, Room: w.room, Type: "m.room.message", Content: json.RawMessage(fmt.Sprintf(`{"msgtype":"m.text","body":%q}`, body))}
	for _, p := range readers {
		m.Readers = append(m.Readers, matrix.UserID(p.UserID))
	}
	sealed, err := w.service.Seal(w.t.Context(), m)
	must(w.t, err)
	sent, err := w.client.Bot().Send(w.t.Context(), w.room, client.Message{Type: "m.room.encrypted", Content: sealed, TransactionID: body})
	must(w.t, err)
	return id.EventID(sent)
}

// A person has a client, which syncs while the test waits for something.
type person struct {
	*mautrix.Client
	w       *world
	machine *crypto.OlmMachine
	since   string
	asked   []*event.Event // for keys
	seen    map[id.EventID]*event.Event
}

func (w *world) person(name string) *person {
	w.t.Helper()
	api, err := mautrix.NewClient(w.trestle.BaseURL, "", "")
	must(w.t, err)
	api.Client = &http.Client{Transport: testkit.SpecTransport(w.t, http.DefaultTransport), Timeout: time.Minute}
	api.DefaultHTTPRetries = 0
	res, err := api.RegisterDummy(w.t.Context(), &mautrix.ReqRegister{Username: name, Password: "correct horse"})
	must(w.t, err)
	p := &person{Client: api, w: w}
	p.begin(res.UserID, res.AccessToken, res.DeviceID)
	w.people = append(w.people, p)
	return p
}

// login is another device of the person's.
func (p *person) login() *person {
	p.w.t.Helper()
	api, err := mautrix.NewClient(p.w.trestle.BaseURL, "", "")
	must(p.w.t, err)
	res, err := api.Login(p.w.t.Context(), &mautrix.ReqLogin{
		Type: mautrix.AuthTypePassword, Password: "correct horse",
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: p.UserID.Localpart()},
	})
	must(p.w.t, err)
	other := &person{Client: api, w: p.w}
	other.begin(res.UserID, res.AccessToken, res.DeviceID)
	return other
}

func (p *person) begin(user id.UserID, token string, device id.DeviceID) {
	p.w.t.Helper()
	p.UserID, p.AccessToken, p.DeviceID = user, token, device
	p.seen = map[id.EventID]*event.Event{}
	states := mautrix.NewMemoryStateStore().(*mautrix.MemoryStateStore)
	states.JoinRules = map[id.RoomID]*event.JoinRulesEventContent{} // which the library forgets to make
	p.machine = crypto.NewOlmMachine(p.Client, nil, crypto.NewMemoryStore(nil), states)
	must(p.w.t, p.machine.Load(p.w.t.Context()))
	must(p.w.t, p.machine.ShareKeys(p.w.t.Context(), 0))
	syncer := p.Syncer.(*mautrix.DefaultSyncer)
	p.machine.AllowKeyShare = func(context.Context, *id.Device, event.RequestedKeyInfo) *crypto.KeyShareRejection { return nil }
	syncer.OnSync(func(ctx context.Context, res *mautrix.RespSync, since string) bool {
		// The library would answer requests on a goroutine of its own.
		res.ToDevice.Events = slices.DeleteFunc(res.ToDevice.Events, func(e *event.Event) bool {
			request := e.Type.Type == event.ToDeviceRoomKeyRequest.Type
			if request {
				e.Type.Class = event.ToDeviceEventType
				must(p.w.t, e.Content.ParseRaw(e.Type))
				p.asked = append(p.asked, e)
			}
			return request
		})
		return p.machine.ProcessSyncResponse(ctx, res, since)
	})
	syncer.OnEvent(func(_ context.Context, e *event.Event) { p.seen[e.ID] = e })
	p.w.t.Cleanup(p.machine.Destroy)
}

func (p *person) until(what string, is func() bool) {
	p.w.t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			p.w.t.Fatalf("%s never sees %s", p.UserID, what)
		}
		res, err := p.FullSyncRequest(p.w.t.Context(), mautrix.ReqSync{Since: p.since, Timeout: 50})
		must(p.w.t, err)
		since := p.since
		p.since = res.NextBatch
		must(p.w.t, p.Syncer.ProcessResponse(p.w.t.Context(), res, since))
	}
}

// says sends a message that some can read.
func (p *person) says(body string, readers ...id.UserID) id.EventID {
	p.w.t.Helper()
	ctx, room := p.w.t.Context(), id.RoomID(p.w.room)
	must(p.w.t, p.machine.CryptoStore.RemoveOutboundGroupSession(ctx, room))
	must(p.w.t, p.machine.ShareGroupSession(ctx, room, readers))
	return p.repeats(body)
}

// repeats sends one with the key that the last one had.
func (p *person) repeats(body string) id.EventID {
	p.w.t.Helper()
	ctx, room := p.w.t.Context(), id.RoomID(p.w.room)
	content, err := p.machine.EncryptMegolmEvent(ctx, room, event.EventMessage, &event.MessageEventContent{MsgType: event.MsgText, Body: body})
	must(p.w.t, err)
	sent, err := p.SendMessageEvent(ctx, room, event.EventEncrypted, content)
	must(p.w.t, err)
	return sent.EventID
}

// reads waits for an event, and says what is in it; empty if there is no key.
func (p *person) reads(wanted id.EventID) string {
	p.w.t.Helper()
	p.until(string(wanted), func() bool { return p.seen[wanted] != nil })
	plain, err := p.machine.DecryptMegolmEvent(p.w.t.Context(), p.seen[wanted])
	if err != nil {
		return ""
	}
	return plain.Content.AsMessage().Body
}
