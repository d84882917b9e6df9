package homeserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// A story is a server with a service, and alice, who knows nothing of it. Its
// checks are those that Sytest has for application services.
type story struct {
	*service
	alice  *mautrix.Client
	look   *atomic.Value // answers queries: func(http.ResponseWriter, *http.Request)
	rooms  int
	ghosts int
}

// on is the story in a test of its own.
func (s *story) on(t *testing.T) *story {
	own := *s.service
	own.t = t
	s.rooms, s.ghosts = s.rooms+1, s.ghosts+1
	return &story{service: &own, alice: s.alice, look: s.look, rooms: s.rooms, ghosts: s.ghosts}
}

func (s *story) answering(fn func(w http.ResponseWriter, r *http.Request)) { s.look.Store(fn) }

// publicRoom is a room of alice's.
func (s *story) publicRoom() id.RoomID {
	s.t.Helper()
	made, err := s.alice.CreateRoom(s.t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", Name: "Tea", Topic: "Green"})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.RoomID
}

// ghost is a new user of the service.
func (s *story) ghost() *mautrix.Client {
	s.t.Helper()
	return s.register(fmt.Sprint("irc_ghost", s.ghosts))
}

// self is a ghost's own login, not the service acting for it.
func (s *story) self(ghost *mautrix.Client) *mautrix.Client {
	s.t.Helper()
	bot := s.as("@ircbot:test")
	bot.SetAppServiceUserID = false
	res, err := bot.Login(s.t.Context(), &mautrix.ReqLogin{
		Type: mautrix.AuthTypeAppservice, Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: string(ghost.UserID)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	client, err := mautrix.NewClient(s.base, ghost.UserID, res.AccessToken)
	if err != nil {
		s.t.Fatal(err)
	}
	client.Client.Transport = testkit.SpecTransport(s.t, http.DefaultTransport)
	return client
}

func (s *story) registers(client *mautrix.Client, body map[string]any) (int, map[string]any) {
	s.t.Helper()
	body["type"] = "m.login.application_service"
	return request(s.t, client, "POST", "/_matrix/client/v3/register", nil, body)
}

// bot is the service without the name of a user.
func (s *story) bot() *mautrix.Client {
	s.t.Helper()
	client := s.as("@ircbot:test")
	client.SetAppServiceUserID = false
	return client
}

func (s *story) createsUsers(t *testing.T) {
	for name, body := range map[string]map[string]any{
		"by the old member": {"user": "irc_create1"}, "by username": {"username": "irc_create2"},
		"with an underscore first": {"username": "irc__create3"}, "without a login": {"username": "irc_create4", "inhibit_login": true},
	} {
		status, members := s.registers(s.bot(), body)
		_, loggedIn := members["access_token"]
		if status != http.StatusOK || !strings.HasPrefix(fmt.Sprint(members["user_id"]), "@irc_") || members["home_server"] != "test" ||
			loggedIn == (body["inhibit_login"] == true) {
			t.Errorf("%s: %d %v", name, status, members)
		}
	}
}

func (s *story) createsNoOtherUsers(t *testing.T) {
	status, members := s.registers(s.bot(), map[string]any{"username": "a_different_user"})
	wantRefusal(t, "outside of its namespace", status, members, 400, "M_EXCLUSIVE")
}

func (s *story) peopleCreateNoneOfItsUsers(t *testing.T) {
	person, err := mautrix.NewClient(s.base, "", "")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = person.Register(t.Context(), &mautrix.ReqRegister{Username: "irc_person", Password: "correct horse", Auth: map[string]string{"type": "m.login.dummy"}})
	wantCode(t, err, "M_EXCLUSIVE")
}

func (s *story) makesAliases(t *testing.T) {
	room := s.publicRoom()
	if _, err := s.bot().CreateAlias(t.Context(), "#irc_made:test", room); err != nil {
		t.Fatal(err)
	}
	if found, err := s.alice.ResolveAlias(t.Context(), "#irc_made:test"); err != nil || found.RoomID != room {
		t.Errorf("the alias leads to %+v, %v", found, err)
	}
}

func (s *story) peopleMakeNoneOfItsAliases(t *testing.T) {
	_, err := s.alice.CreateAlias(t.Context(), "#irc_person:test", s.publicRoom())
	wantCode(t, err, "M_EXCLUSIVE")
}

// talks has a ghost join and say something, which the service and alice hear.
func (s *story) talks(ghost *mautrix.Client, body string) {
	s.t.Helper()
	room := s.publicRoom()
	if _, err := ghost.JoinRoomByID(s.t.Context(), room); err != nil {
		s.t.Fatal(err)
	}
	s.untilEvent(`"state_key":"` + string(ghost.UserID) + `"`)
	say(s.t, ghost, room, body)
	s.untilBody(body)
	syncUntil(s.t, s.alice, "", func(res *mautrix.RespSync) bool {
		for _, said := range messages(res, room) {
			if said == body {
				return true
			}
		}
		return false
	})
}

func (s *story) ghostsTalkThroughTheService(*testing.T) { s.talks(s.ghost(), "through the service") }

func (s *story) ghostsTalkThemselves(*testing.T) { s.talks(s.self(s.ghost()), "by myself") }

// saysWhereItComesFrom has a message name where it can be read outside of Matrix: nobody
// but those who read it makes anything of that.
func (s *story) saysWhereItComesFrom(t *testing.T) {
	const source = "https://logs.example/%23tea/2026-11-22?a=b&c=d#12:00:00"
	room, ghost := s.publicRoom(), s.ghost()
	if _, err := ghost.JoinRoomByID(t.Context(), room); err != nil {
		t.Fatal(err)
	}
	sent, err := ghost.SendMessageEvent(t.Context(), room, event.EventMessage, map[string]string{"msgtype": "m.text", "body": "from elsewhere", "external_url": source})
	if err != nil {
		t.Fatal(err)
	}
	s.untilEvent(`"external_url":"` + source + `"`)
	seen, err := s.alice.GetEvent(t.Context(), room, sent.EventID)
	if err != nil || seen.Content.Raw["external_url"] != source {
		t.Errorf("alice sees %v, %v", seen, err)
	}
}

func (s *story) ghostsRegisterFirst(t *testing.T) {
	room := s.publicRoom()
	ghost := s.as("@irc_late:test")
	_, err := ghost.JoinRoomByID(t.Context(), room)
	wantCode(t, err, "M_FORBIDDEN")
	s.register("irc_late")
	if _, err := ghost.JoinRoomByID(t.Context(), room); err != nil {
		t.Error(err)
	}
}

func (s *story) setsAvatarsAndNames(t *testing.T) {
	ghost := s.ghost()
	avatar := id.ContentURI{Homeserver: "test", FileID: "picture"}
	if err := ghost.SetAvatarURL(t.Context(), avatar); err != nil {
		t.Fatal(err)
	}
	if err := ghost.SetDisplayName(t.Context(), "A ghost's new name"); err != nil {
		t.Fatal(err)
	}
	profile, err := s.alice.GetProfile(t.Context(), ghost.UserID)
	if err != nil || profile.AvatarURL != avatar || profile.DisplayName != "A ghost's new name" {
		t.Errorf("the profile is %+v, %v", profile, err)
	}
}

func (s *story) setsNoNamesOfOthers(t *testing.T) {
	err := s.as(s.alice.UserID).SetDisplayName(t.Context(), "Mallory")
	wantCode(t, err, "M_FORBIDDEN")
}

func (s *story) isAskedForUsersWhoAreInvited(t *testing.T) {
	var asked atomic.Int64
	s.answering(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_matrix/app/v1/users/@irc_invited:test" {
			asked.Add(1)
			s.register("irc_invited")
		}
		fmt.Fprint(w, `{}`)
	})
	if _, err := s.alice.InviteUser(t.Context(), s.publicRoom(), &mautrix.ReqInviteUser{UserID: "@irc_invited:test"}); err != nil || asked.Load() != 1 {
		t.Fatalf("asked %d times, %v", asked.Load(), err)
	}
	s.untilEvent(`"state_key":"@irc_invited:test"`)
}

func (s *story) isAskedForAliases(t *testing.T) {
	room := s.publicRoom()
	s.answering(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_matrix/app/v1/rooms/#irc_asked:test" {
			if _, err := s.bot().CreateAlias(r.Context(), "#irc_asked:test", room); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprint(w, `{}`)
	})
	joined, err := s.alice.JoinRoom(t.Context(), "#irc_asked:test", nil)
	if err != nil || joined.RoomID != room {
		t.Errorf("joined %+v, %v", joined, err)
	}
}

func (s *story) hearsRoomsWithItsAliases(t *testing.T) {
	room := s.publicRoom()
	if _, err := s.bot().CreateAlias(t.Context(), "#irc_heard:test", room); err != nil {
		t.Fatal(err)
	}
	say(t, s.alice, room, "for the service's ears")
	s.untilBody("for the service's ears")
}

// ownUserJoins has the service's own user, who was never registered, join.
func (s *story) ownUserJoins(query bool) {
	s.t.Helper()
	made, err := s.alice.CreateRoom(s.t.Context(), &mautrix.ReqCreateRoom{Invite: []id.UserID{"@ircbot:test"}})
	if err != nil {
		s.t.Fatal(err)
	}
	bot := s.bot()
	bot.SetAppServiceUserID = query
	if _, err := bot.JoinRoomByID(s.t.Context(), made.RoomID); err != nil {
		s.t.Error(err)
	}
}

func (s *story) ownUserJoinsUnregistered(*testing.T) { s.ownUserJoins(false) }

func (s *story) ownUserJoinsByName(*testing.T) { s.ownUserJoins(true) }

const description = `{"user_fields":["field1","field2"],"location_fields":["field3"],"icon":"mxc://test/ymca",
	"field_types":{"field1":{"regexp":".*","placeholder":""}},"instances":[{"network_id":"village","desc":"Village","fields":{}}]}`

func (s *story) offersProtocols(t *testing.T) {
	s.answering(answers(map[string]string{"/thirdparty/protocol/ymca": description}))
	_, all := request(t, s.alice, "GET", "/_matrix/client/v3/thirdparty/protocols", nil, nil)
	if all["ymca"] == nil {
		t.Errorf("the protocols are %v", all)
	}
}

func (s *story) describesOneProtocol(t *testing.T) {
	s.answering(answers(map[string]string{"/thirdparty/protocol/ymca": description}))
	_, one := request(t, s.alice, "GET", "/_matrix/client/v3/thirdparty/protocol/ymca", nil, nil)
	if one["icon"] != "mxc://test/ymca" {
		t.Errorf("the protocol is %v", one)
	}
}

func (s *story) looksUpUsers(t *testing.T) {
	const found = `[{"userid":"@remote-user:bridged.example","protocol":"ymca","fields":{"field1":"result"}}]`
	s.answering(answers(map[string]string{"/thirdparty/user/ymca?field1=ONE&field2=TWO": found}))
	_, raw := requestRaw(t, s.alice, "GET", "/_matrix/client/v3/thirdparty/user/ymca", url.Values{"field1": {"ONE"}, "field2": {"TWO"}}, nil)
	if string(raw) != found {
		t.Errorf("found %s", raw)
	}
}

func (s *story) looksUpLocations(t *testing.T) {
	const found = `[{"alias":"#remote-room:bridged.example","protocol":"ymca","fields":{"field3":"result"}}]`
	s.answering(answers(map[string]string{"/thirdparty/location/ymca?field3=THREE": found}))
	_, raw := requestRaw(t, s.alice, "GET", "/_matrix/client/v3/thirdparty/location/ymca", url.Values{"field3": {"THREE"}}, nil)
	if string(raw) != found {
		t.Errorf("found %s", raw)
	}
}

// listed reports whether a room is in the main directory, in that of the
// service's network, and in all of them.
func (s *story) listed(room id.RoomID) (where string) {
	s.t.Helper()
	for _, list := range []struct {
		name string
		body map[string]any
	}{{"main", map[string]any{}}, {"network", map[string]any{"third_party_instance_id": "irc|village"}}, {"all", map[string]any{"include_all_networks": true}}} {
		_, page := request(s.t, s.alice, "POST", "/_matrix/client/v3/publicRooms", nil, list.body)
		chunk, _ := page["chunk"].([]any)
		for _, entry := range chunk {
			if entry.(map[string]any)["room_id"] == string(room) {
				where += list.name + " "
			}
		}
	}
	return where
}

func (s *story) lists(method string, room id.RoomID) {
	s.t.Helper()
	bot, body := s.bot(), any(nil)
	if method == "PUT" {
		body = map[string]string{"visibility": "public"}
	} else {
		bot = unjudged(s.t, bot) // as Synapse has it, beyond the specification
	}
	status, members := request(s.t, bot, method, "/_matrix/client/v3/directory/list/appservice/village/"+string(room), nil, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s: %d %v", method, status, members)
	}
}

func (s *story) listsRooms(t *testing.T) {
	room := s.publicRoom()
	s.lists("PUT", room)
	if where := s.listed(room); where != "network all " {
		t.Errorf("the room is in %s", where)
	}
	s.lists("DELETE", room)
	if where := s.listed(room); where != "" {
		t.Errorf("the room is still in %s", where)
	}
}

func (s *story) listsApartFromTheMainList(t *testing.T) {
	room := s.publicRoom()
	s.lists("PUT", room)
	status, members := request(t, s.alice, "PUT", "/_matrix/client/v3/directory/list/room/"+string(room), nil, map[string]string{"visibility": "public"})
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, members)
	}
	if where := s.listed(room); where != "main network all " {
		t.Errorf("the room is in %s", where)
	}
	s.lists("DELETE", room)
	if where := s.listed(room); where != "main all " {
		t.Errorf("the room is in %s", where)
	}
}

func (s *story) deactivatesUsers(t *testing.T) {
	ghost := s.ghost()
	status, members := request(t, ghost, "POST", "/_matrix/client/v3/account/deactivate", nil, map[string]any{})
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, members)
	}
	_, err := ghost.JoinedRooms(t.Context())
	wantCode(t, err, "M_USER_DEACTIVATED")
}

func TestTheStoryOfAService(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := &story{service: withService(t, database, bridges("ymca")), look: &atomic.Value{}}
		s.alice = login(t, s.base, "alice")
		s.Query = func(w http.ResponseWriter, r *http.Request) {
			if fn, ok := s.look.Load().(func(http.ResponseWriter, *http.Request)); ok {
				fn(w, r)
				return
			}
			http.NotFound(w, r)
		}
		for _, check := range []struct {
			name string
			does func(*story, *testing.T)
		}{
			{"its own user joins without being registered", (*story).ownUserJoinsUnregistered},
			{"its own user joins by its name", (*story).ownUserJoinsByName},
			{"it creates users", (*story).createsUsers}, // old member, underscore, no login: three of Sytest's
			{"it creates no users of others", (*story).createsNoOtherUsers},
			{"people create none of its users", (*story).peopleCreateNoneOfItsUsers},
			{"it makes aliases", (*story).makesAliases},
			{"people make none of its aliases", (*story).peopleMakeNoneOfItsAliases},
			{"its ghosts talk through it", (*story).ghostsTalkThroughTheService},
			{"its ghosts talk themselves", (*story).ghostsTalkThemselves},
			{"a message says where it comes from", (*story).saysWhereItComesFrom},
			{"ghosts register before they join", (*story).ghostsRegisterFirst},
			{"it sets avatars and names of ghosts", (*story).setsAvatarsAndNames}, // two of Sytest's
			{"it sets no names of others", (*story).setsNoNamesOfOthers},
			{"it is asked for users who are invited", (*story).isAskedForUsersWhoAreInvited},
			{"it is asked for aliases", (*story).isAskedForAliases},
			{"it hears rooms that have its aliases", (*story).hearsRoomsWithItsAliases},
			{"its protocols are offered", (*story).offersProtocols},
			{"one protocol is described", (*story).describesOneProtocol},
			{"users of its network are looked up", (*story).looksUpUsers},
			{"places of its network are looked up", (*story).looksUpLocations},
			{"it lists rooms", (*story).listsRooms},
			{"its list is apart from the main one", (*story).listsApartFromTheMainList},
			{"it deactivates users", (*story).deactivatesUsers},
		} {
			t.Run(check.name, func(t *testing.T) { check.does(s.on(t), t) })
		}
	})
}
