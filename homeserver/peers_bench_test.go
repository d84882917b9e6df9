package homeserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"maunium.net/go/mautrix"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// BenchmarkJoinElsewhere is a join of a room with 5,000 members by way of another server, from the client's request to its
// answer, by TLS between the servers, with the other one on the same machine.
func BenchmarkJoinElsewhere(b *testing.B) {
	const members = 5000
	authority := testkit.NewAuthority(b)
	there := federate(b, authority, testkit.SQLite(b), nil)
	register := func(f *federated, name string) *mautrix.Client {
		var got mautrix.RespRegister
		f.want(nil, http.MethodPost, v3+"/register", fmt.Sprintf(`{"username":%q,"password":"correct horse","auth":{"type":"m.login.dummy"}}`, name), 200, &got)
		return &mautrix.Client{UserID: got.UserID, AccessToken: got.AccessToken}
	}
	alice := register(there, "alice")
	var room mautrix.RespCreateRoom
	there.want(alice, http.MethodPost, v3+"/createRoom", `{"preset":"public_chat"}`, 200, &room)
	for i := range members {
		user := matrix.NewUserID(fmt.Sprint("member", i), matrix.ServerName(there.name))
		if _, err := there.server.Rooms().Join(b.Context(), string(room.RoomID), rooms.MemberRequest{Sender: user}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		b.StopTimer()
		here := federate(b, authority, testkit.SQLite(b), nil)
		bob := register(here, "bob")
		b.StartTimer()
		here.want(bob, http.MethodPost, v3+"/join/"+url.PathEscape(string(room.RoomID))+"?via="+url.QueryEscape(there.name), "{}", 200, new(struct{}))
	}
}
