package clientapi_test

import (
	"net/http"
	"slices"
	"testing"

	"trestle/internal/testkit"
)

// guestsMay are the operations of Client-Server API § Guest access.
var guestsMay = []string{
	"GET /_matrix/client/v3/rooms/{roomId}/state",
	"GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}",
	"GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}",
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
	"GET /_matrix/client/v3/rooms/{roomId}/messages",
	"GET /_matrix/client/v3/rooms/{roomId}/members",
	"GET /_matrix/client/v3/rooms/{roomId}/initialSync",
	"GET /_matrix/client/v3/sync",
	"GET /_matrix/client/v3/events",
	"GET /_matrix/client/v1/media/download/{serverName}/{mediaId}",
	"GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}",
	"GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}",
	"POST /_matrix/client/v3/rooms/{roomId}/join",
	"POST /_matrix/client/v3/rooms/{roomId}/leave",
	"PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}",
	"PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}",
	"PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
	"PUT /_matrix/client/v3/profile/{userId}/{keyName}",
	"DELETE /_matrix/client/v3/profile/{userId}/{keyName}",
	"GET /_matrix/client/v3/devices",
	"GET /_matrix/client/v3/devices/{deviceId}",
	"PUT /_matrix/client/v3/devices/{deviceId}",
	"GET /_matrix/client/v3/account/whoami",
	"POST /_matrix/client/v3/keys/upload",
	"POST /_matrix/client/v3/keys/query",
	"POST /_matrix/client/v3/keys/claim",
}

// guestsMayToo are those that clients of guests need besides, or that show
// nothing but what anybody may see.
var guestsMayToo = []string{
	"GET /_matrix/client/v1/rooms/{roomId}/hierarchy",
	"GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}",
	"GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}",
	"GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}",
	"GET /_matrix/client/v1/rooms/{roomId}/threads",
	"GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
	"GET /_matrix/client/v3/admin/whois/{userId}",
	"GET /_matrix/client/v3/events/{eventId}",
	"GET /_matrix/client/v3/initialSync",
	"GET /_matrix/client/v3/joined_rooms",
	"GET /_matrix/client/v3/rooms/{roomId}/aliases",
	"GET /_matrix/client/v3/rooms/{roomId}/joined_members",
	"GET /_matrix/client/v3/thirdparty/location",
	"GET /_matrix/client/v3/thirdparty/location/{protocol}",
	"GET /_matrix/client/v3/thirdparty/protocol/{protocol}",
	"GET /_matrix/client/v3/thirdparty/protocols",
	"GET /_matrix/client/v3/thirdparty/user",
	"POST /_matrix/client/v3/keys/upload/{deviceId}",
	"GET /_matrix/client/v3/thirdparty/user/{protocol}",
	"GET /_matrix/client/v3/user/{userId}/filter/{filterId}",
	"GET /_matrix/client/v3/voip/turnServer",
	"POST /_matrix/client/v3/join/{roomIdOrAlias}",
	"POST /_matrix/client/v3/logout",
	"POST /_matrix/client/v3/logout/all",
	"POST /_matrix/client/v3/publicRooms",
	"POST /_matrix/client/v3/rooms/{roomId}/forget",
	"POST /_matrix/client/v3/user/{userId}/filter",
	"POST /_matrix/client/v3/user/{userId}/openid/request_token",
	"PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}",
}

// Every operation that needs a token is forbidden to guests, but for those above.
func TestGuestsEverywhere(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db")
	alice := s.person("alice")
	room := alice.must("POST", v3+"/createRoom", `{"room_alias_name":"hall"}`).field("room_id")
	event := alice.say(room, "hello")
	for _, op := range testkit.SpecOperations(t) {
		name := op.Method + " " + op.Path
		if op.API != "client-server" || !op.Token || slices.Contains(notRouted, name) || slices.Contains(guestsMayToo, name) {
			continue
		}
		a := attack{SpecOperation: op, path: validPath(op.Path, room, event, alice.user)}
		guest := s.plain().guest()
		r := guest.do(op.Method, a.filled("x"), `{}`)
		barred := r.status == http.StatusForbidden && r.field("errcode") == "M_GUEST_ACCESS_FORBIDDEN"
		// Services and administrators have operations of their own.
		if barred = barred || r.status == http.StatusForbidden && r.field("errcode") == "M_FORBIDDEN"; slices.Contains(guestsMay, name) {
			if r.field("errcode") == "M_GUEST_ACCESS_FORBIDDEN" && op.Path != "/_matrix/client/v3/profile/{userId}/{keyName}" {
				t.Errorf("%s is for guests: %d %s", name, r.status, r.body)
			}
		} else if !barred {
			t.Errorf("%s is not for guests: %d %s", name, r.status, r.body)
		}
	}
}

// Where guests are not wanted any more they leave, and others stay.
func TestGuestsAreDismissed(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		first, second := s.guest(), s.guest()
		first.refused("POST", v3+"/rooms/"+room+"/join", `{}`, 403, "M_GUEST_ACCESS_FORBIDDEN")
		alice.setState(room, "m.room.guest_access", "", object{"guest_access": "can_join"})
		first.join(room)
		second.join(room)
		first.say(room, "hello")
		for _, change := range []func(){
			func() { alice.setState(room, "m.room.guest_access", "", object{"guest_access": "forbidden"}) },
			func() { alice.setState(room, "m.room.guest_access", "", object{}) },
			func() {
				e := alice.must("GET", v3+"/rooms/"+room+"/state/m.room.guest_access/?format=event", nil).field("event_id")
				alice.must("PUT", v3+"/rooms/"+room+"/redact/"+e+"/once", `{}`)
			},
		} {
			alice.setState(room, "m.room.guest_access", "", object{"guest_access": "can_join"})
			first.join(room)
			second.join(room)
			change()
			for _, guest := range []*device{first, second} {
				if m := alice.membership(room, guest.user); m != "leave" {
					t.Errorf("a guest's membership is %q", m)
				}
			}
			if alice.membership(room, bob.user) != "join" || alice.membership(room, alice.user) != "join" {
				t.Error("others have left, too")
			}
			first.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/late", object{"body": "x", "msgtype": "m.text"}, 403, "M_FORBIDDEN")
		}
	})
}
