package homeserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

// service is an application service and what it is sent.
type service struct {
	*testkit.FakeAS
	registration *registration.Registration
	base         string
	t            *testing.T
}

// newService makes a service for @<id>_…:test and #<id>_…:test.
func newService(t *testing.T, id string, change ...func(*registration.Registration)) *service {
	t.Helper()
	fake := testkit.NewJudgedAS(t, "hs_token_of_"+id)
	reg := registration.Generate(id, fake.URL, id+"bot")
	reg.ASToken, reg.HSToken = "as_token_of_"+id, fake.HSToken
	for sigil, space := range map[string]*[]registration.Namespace{"@": &reg.Namespaces.Users, "#": &reg.Namespaces.Aliases} {
		n, err := registration.NewNamespace(sigil+id+`_.*:test`, true)
		if err != nil {
			t.Fatal(err)
		}
		*space = append(*space, n)
	}
	for _, c := range change {
		c(reg)
	}
	return &service{FakeAS: fake, registration: reg, t: t}
}

// withServices runs a homeserver that has application services.
func withServices(t *testing.T, database string, change func(*config.Config), services ...*service) {
	t.Helper()
	base := start(t, database, func(cfg *config.Config) {
		cfg.AppServices = []string{t.TempDir()}
		for _, s := range services {
			if err := s.registration.Write(filepath.Join(cfg.AppServices[0], s.registration.ID+".yaml")); err != nil {
				t.Fatal(err)
			}
		}
		if change != nil {
			change(cfg)
		}
	})
	for _, s := range services {
		s.base = base
	}
}

// withService runs a homeserver that has the service irc.
func withService(t *testing.T, database string, change ...func(*registration.Registration)) *service {
	t.Helper()
	s := newService(t, "irc", change...)
	withServices(t, database, nil, s)
	return s
}

// as is a client that acts as one of the service's users.
func (s *service) as(user id.UserID) *mautrix.Client {
	s.t.Helper()
	client, err := mautrix.NewClient(s.base, user, s.registration.ASToken)
	if err != nil {
		s.t.Fatal(err)
	}
	client.SetAppServiceUserID = true
	client.Client.Transport = testkit.SpecTransport(s.t, http.DefaultTransport)
	return client
}

func (s *service) register(localpart string) *mautrix.Client {
	s.t.Helper()
	client := s.as(id.NewUserID(localpart, "test"))
	client.SetAppServiceUserID = false
	_, _, err := client.Register(s.t.Context(), &mautrix.ReqRegister{
		Username: localpart, Type: mautrix.AuthTypeAppservice, InhibitLogin: true,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	client.SetAppServiceUserID = true
	return client
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var answer mautrix.HTTPError
	if !asError(err, &answer) || answer.RespError == nil || answer.RespError.ErrCode != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func asError(err error, into *mautrix.HTTPError) bool {
	e, ok := err.(mautrix.HTTPError)
	*into = e
	return ok
}

func TestAnAliasComesToBeWhenItIsJoined(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		ctx := t.Context()
		s.register("ircbot")
		var queries atomic.Int64
		s.Query = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/_matrix/app/v1/rooms/#irc_go:test" {
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"errcode":"M_NOT_FOUND"}`)
				return
			}
			queries.Add(1)
			bot := s.as("@ircbot:test")
			room, err := bot.CreateRoom(r.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "irc_go", Name: "#go"})
			if err != nil {
				t.Error(err)
				return
			}
			ghost := s.register("irc_bob")
			if _, err := ghost.JoinRoomByID(r.Context(), room.RoomID); err != nil {
				t.Error(err)
			}
			_, err = ghost.SendMessageEvent(r.Context(), room.RoomID, event.EventMessage,
				map[string]string{"msgtype": "m.text", "body": "hello?"}, mautrix.ReqSendEvent{Timestamp: 1421416883133})
			if err != nil {
				t.Error(err)
			}
			fmt.Fprint(w, `{}`)
		}
		alice := login(t, s.base, "alice")
		joined, err := alice.JoinRoom(ctx, "#irc_go:test", nil)
		if err != nil {
			t.Fatal(err)
		}
		if queries.Load() != 1 {
			t.Errorf("the service was asked %d times", queries.Load())
		}
		history, err := alice.Messages(ctx, joined.RoomID, "", "", mautrix.DirectionBackward, nil, 50)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range history.Chunk {
			if e.Sender == "@irc_bob:test" && e.Timestamp == 1421416883133 {
				found = e.Content.Raw["body"] == "hello?"
			}
		}
		if !found {
			t.Error("what was said before is not there with its time")
		}
		_, err = alice.JoinRoom(ctx, "#irc_none:test", nil)
		wantCode(t, err, "M_NOT_FOUND")
		if _, err := alice.SendText(ctx, joined.RoomID, "hi!"); err != nil {
			t.Fatal(err)
		}
		s.untilBody("hi!")
	})
}

// untilBody waits for a message to be delivered.
func (s *service) untilBody(body string) {
	s.t.Helper()
	for n := 1; ; n++ {
		s.Until(s.t, n)
		events := s.Events()
		for _, raw := range events {
			if strings.Contains(string(raw), `"body":"`+body+`"`) {
				return
			}
		}
		n = len(events)
	}
}

func TestNamespacesAreKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		ctx := t.Context()
		alice := login(t, s.base, "alice")
		person, err := mautrix.NewClient(s.base, "", "")
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = person.Register(ctx, &mautrix.ReqRegister{Username: "irc_eve", Password: "correct horse", Auth: map[string]string{"type": "m.login.dummy"}})
		wantCode(t, err, "M_EXCLUSIVE")
		_, err = alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{RoomAliasName: "irc_mine"})
		wantCode(t, err, "M_EXCLUSIVE")
		room, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{RoomAliasName: "mine"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = alice.CreateAlias(ctx, "#irc_mine:test", room.RoomID)
		wantCode(t, err, "M_EXCLUSIVE")
		bot := s.register("ircbot")
		_, err = bot.CreateAlias(ctx, "#other:test", room.RoomID)
		wantCode(t, err, "M_EXCLUSIVE")
		_, err = bot.DeleteAlias(ctx, "#mine:test")
		wantCode(t, err, "M_EXCLUSIVE")
		_, err = s.as("@alice:test").JoinedRooms(ctx)
		wantCode(t, err, "M_FORBIDDEN")
		_, err = s.as("@irc_nobody:test").JoinedRooms(ctx)
		wantCode(t, err, "M_FORBIDDEN")
		// ts is for services alone: alice's message has the time of today.
		sent, err := alice.SendMessageEvent(ctx, room.RoomID, event.EventMessage, map[string]string{"msgtype": "m.text", "body": "x"}, mautrix.ReqSendEvent{Timestamp: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := alice.GetEvent(ctx, room.RoomID, sent.EventID); err != nil || e.Timestamp == 1000 {
			t.Errorf("%v has the time that alice asked for, %v", e, err)
		}
	})
}

func TestPingGoesThereAndBack(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		pinged := make(chan string, 1)
		s.Query = func(w http.ResponseWriter, r *http.Request) {
			var body struct {
				TransactionID string `json:"transaction_id"`
			}
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			pinged <- r.Method + " " + r.URL.Path + " " + body.TransactionID
			fmt.Fprint(w, `{}`)
		}
		bot := s.register("ircbot")
		if _, err := bot.AppservicePing(t.Context(), "irc", "txn1"); err != nil {
			t.Fatal(err)
		}
		if got := <-pinged; got != "POST /_matrix/app/v1/ping txn1" {
			t.Error(got)
		}
		_, err := bot.AppservicePing(t.Context(), "other", "")
		wantCode(t, err, "M_FORBIDDEN")
		_, err = login(t, s.base, "alice").AppservicePing(t.Context(), "irc", "")
		wantCode(t, err, "M_FORBIDDEN")
	})
}

func TestAUserComesToBeWhenInvited(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		ctx := t.Context()
		var asked atomic.Int64
		s.Query = func(w http.ResponseWriter, r *http.Request) {
			if path, err := url.PathUnescape(r.URL.Path); err != nil || path != "/_matrix/app/v1/users/@irc_bob:test" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			asked.Add(1)
			ghost := s.register("irc_bob")
			if err := ghost.SetDisplayName(r.Context(), "Bob"); err != nil {
				t.Error(err)
			}
			fmt.Fprint(w, `{}`)
		}
		alice := login(t, s.base, "alice")
		room, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Invite: []id.UserID{"@irc_bob:test"}})
		if err != nil {
			t.Fatal(err)
		}
		if asked.Load() != 1 {
			t.Errorf("the service was asked %d times", asked.Load())
		}
		var member event.MemberEventContent
		if err := alice.StateEvent(ctx, room.RoomID, event.StateMember, "@irc_bob:test", &member); err != nil || member.Displayname != "Bob" {
			t.Errorf("the invite is %+v, %v", member, err)
		}
		s.Until(t, 1)
		invite := string(s.Events()[0])
		if !strings.Contains(invite, `"invite_room_state"`) || !strings.Contains(invite, `"membership":"invite"`) {
			t.Errorf("the service gets %s", invite)
		}
	})
}
