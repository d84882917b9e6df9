package jsservice_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// A person has a client by mautrix-go, and knows what it has seen in rooms.
type person struct {
	*mautrix.Client
	t     *testing.T
	since string
	seen  []*event.Event
}

func newPerson(t *testing.T, homeserver, name string) *person {
	t.Helper()
	client, err := mautrix.NewClient(homeserver, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client = &http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport), Timeout: patience}
	client.DefaultHTTPRetries = 0
	res, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	client.UserID, client.AccessToken, client.DeviceID = res.UserID, res.AccessToken, res.DeviceID
	return &person{Client: client, t: t}
}

// until syncs until an event is there.
func (p *person) until(what string, wanted func(*event.Event) bool) *event.Event {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		for _, e := range p.seen {
			if wanted(e) {
				return e
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s never sees %s", p.UserID, what)
		}
		res, err := p.FullSyncRequest(p.t.Context(), mautrix.ReqSync{Since: p.since, Timeout: 1000})
		if err != nil {
			p.t.Fatal(err)
		}
		p.since = res.NextBatch
		for room, joined := range res.Rooms.Join {
			for _, list := range [][]*event.Event{joined.State.Events, joined.Timeline.Events} {
				for _, e := range list {
					e.RoomID = room
					p.seen = append(p.seen, e)
				}
			}
		}
	}
}

// hears waits for a message.
func (p *person) hears(room id.RoomID, sender id.UserID, text string) {
	p.t.Helper()
	p.until(string(sender)+" saying "+text, func(e *event.Event) bool {
		return e.RoomID == room && e.Sender == sender && e.Type.Type == "m.room.message" && e.Content.Raw["body"] == text
	})
}

// meets waits for somebody's membership, and returns the name that is with it.
func (p *person) meets(room id.RoomID, user id.UserID, membership string) string {
	p.t.Helper()
	e := p.until(string(user)+"'s "+membership, func(e *event.Event) bool {
		return e.RoomID == room && e.StateKey != nil && *e.StateKey == string(user) && e.Content.Raw["membership"] == membership
	})
	name, _ := e.Content.Raw["displayname"].(string)
	return name
}

func (p *person) says(room id.RoomID, text string) {
	p.t.Helper()
	if _, err := p.SendText(p.t.Context(), room, text); err != nil {
		p.t.Fatal(err)
	}
}

// joins joins an alias.
func (p *person) joins(alias string) id.RoomID {
	p.t.Helper()
	joined, err := p.JoinRoom(p.t.Context(), alias, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return joined.RoomID
}

// refused says that a request has ended with an error.
func refused(t *testing.T, what string, err error, code string) {
	t.Helper()
	answer, ok := err.(mautrix.HTTPError)
	if !ok || answer.RespError == nil || answer.RespError.ErrCode != code {
		t.Errorf("%s: %v, not %s", what, err, code)
	}
}

// begin runs a homeserver with a service, and alice.
func begin(t *testing.T, database, name string) (*service, *person) {
	t.Helper()
	testkit.NodeLibraries(t, "jsservice", wanted)
	data := filepath.Join(t.TempDir(), "data")
	service := newService(t, data, name)
	options := testkit.TrestleOptions{Data: data, Args: []string{"--open-registration"}}
	if filepath.Ext(database) == "" {
		options.Database = database
	}
	homeserver := testkit.StartTrestle(t, options)
	service.run(t, name+".mjs", homeserver.BaseURL)
	return service, newPerson(t, homeserver.BaseURL, "alice")
}

func TestABotByMatrixBotSDK(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		t.Parallel()
		_, alice := begin(t, database, "bot")
		const bot = "@botbot:localhost"

		made, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", Invite: []id.UserID{bot}})
		if err != nil {
			t.Fatal(err)
		}
		alice.meets(made.RoomID, bot, "join")
		alice.says(made.RoomID, "!ping")
		alice.hears(made.RoomID, bot, "pong, @alice:localhost")

		alice.says(made.RoomID, "!as carol good morning")
		alice.hears(made.RoomID, "@bot_carol:localhost", "good morning")
		alice.until("carol's name", func(e *event.Event) bool { return e.Content.Raw["displayname"] == "carol (bot)" })

		tea := alice.joins("#bot_tea:localhost")
		alice.until("the room's name", func(e *event.Event) bool {
			return e.RoomID == tea && e.Content.Raw["name"] == "The room #bot_tea:localhost"
		})
		alice.says(tea, "!ping")
		alice.hears(tea, bot, "pong, @alice:localhost")
		_, err = alice.JoinRoom(t.Context(), "#bot_nothing:localhost", nil)
		refused(t, "an alias that the bot does not have", err, "M_NOT_FOUND")

		if _, err := alice.InviteUser(t.Context(), tea, &mautrix.ReqInviteUser{UserID: "@bot_dave:localhost"}); err != nil {
			t.Error(err)
		}
		alice.meets(tea, "@bot_dave:localhost", "join")
		if name, err := alice.GetDisplayName(t.Context(), "@bot_dave:localhost"); err != nil || name.DisplayName != "Ghost dave" {
			t.Errorf("who has come is %+v, %v", name, err)
		}
		_, err = alice.GetDisplayName(t.Context(), "@bot_nobody:localhost")
		refused(t, "a user that the bot does not have", err, "M_NOT_FOUND")
	})
}

func TestABridgeByMatrixAppserviceBridge(t *testing.T) {
	t.Parallel()
	testkit.Databases(t, func(t *testing.T, database string) {
		t.Parallel()
		service, alice := begin(t, database, "bridge")
		const bob = "@bridge_bob:localhost"

		tea := alice.joins("#bridge_tea:localhost")
		alice.meets(tea, bob, "join")
		alice.says(tea, "hello")
		alice.hears(tea, bob, "HELLO!")

		// The library says 200 to aliases and users that there will never be.
		for _, there := range []string{"rooms/#bridge_coffee:localhost", "rooms/#bridge_broken:localhost", "users/@bridge_eve:localhost"} {
			if status, code := ask(t, service, there); status != http.StatusOK || code != "M_UNKNOWN" && there[0] == 'r' {
				t.Errorf("the library has changed: it answers for %s with %d %s", there, status, code)
			}
		}
		for _, alias := range []string{"#bridge_coffee:localhost", "#bridge_broken:localhost"} {
			_, err := alice.JoinRoom(t.Context(), alias, nil)
			refused(t, "joining "+alias, err, "M_NOT_FOUND")
			_, err = alice.ResolveAlias(t.Context(), id.RoomAlias(alias))
			refused(t, "resolving "+alias, err, "M_NOT_FOUND")
		}
		_, err := alice.GetDisplayName(t.Context(), "@bridge_eve:localhost")
		refused(t, "looking for a user that there is not", err, "M_NOT_FOUND")

		if _, err := alice.InviteUser(t.Context(), tea, &mautrix.ReqInviteUser{UserID: "@bridge_carol:localhost"}); err != nil {
			t.Error(err)
		}
		if name := alice.meets(tea, "@bridge_carol:localhost", "invite"); name != "Carol of tea" {
			t.Errorf("who is invited is %q", name)
		}
	})
}

// ask asks a service as the homeserver does.
func ask(t *testing.T, s *service, there string) (status int, code string) {
	t.Helper()
	kind, name := filepath.Split(there)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/_matrix/app/v1/"+kind+url.PathEscape(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.HSToken)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Code string `json:"errcode"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return answer.StatusCode, body.Code
}
