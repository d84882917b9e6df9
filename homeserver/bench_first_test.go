package homeserver_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"maunium.net/go/mautrix"

	"trestle/internal/testkit"
)

// BenchmarkFirstAnswer is the first answer to a client whose user is in 2,000
// rooms, from a server that was just started and from one that knows them.
func BenchmarkFirstAnswer(b *testing.B) {
	for name, database := range map[string]func(testing.TB) string{"sqlite": testkit.SQLite, "postgres": testkit.Postgres} {
		b.Run(name, func(b *testing.B) {
			where := database(b)
			server := open(b, where, nil)
			token := member(b, server.Handler(), 32, 2000)
			server.Close()
			for _, c := range []struct{ name, method, path, body string }{
				{"sliding", http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", `{"conn_id":"room-list","lists":{"all_rooms":{"ranges":[[0,19]],
					"timeline_limit":1,"filters":{"not_room_types":["m.space"]},"required_state":[["m.room.name",""],["m.room.encryption",""],
					["m.room.member","$LAZY"],["m.room.member","$ME"],["m.room.topic",""],["m.room.canonical_alias",""],["m.room.power_levels",""],
					["m.room.join_rules",""],["m.room.history_visibility",""],["m.room.create",""],["m.room.tombstone",""]]}},
					"extensions":{"account_data":{"enabled":true},"receipts":{"enabled":true,"rooms":["*"]},"typing":{"enabled":true},"e2ee":{"enabled":true},"to_device":{"enabled":true}}}`},
				{"v3", http.MethodGet, "/_matrix/client/v3/sync?filter=" + url.QueryEscape(`{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":20}}}`), ""},
			} {
				ask := func(b *testing.B, handler http.Handler) {
					b.Helper()
					if got := call(b, handler, c.method, c.path, token, c.body); len(got) < 10_000 {
						b.Fatalf("%s", got)
					}
				}
				b.Run(c.name+"/cold", func(b *testing.B) {
					for range b.N {
						b.StopTimer()
						server := open(b, where, nil)
						handler := server.Handler()
						b.StartTimer()
						ask(b, handler)
						b.StopTimer()
						server.Close()
						b.StartTimer()
					}
				})
				b.Run(c.name+"/warm", func(b *testing.B) {
					server := open(b, where, nil)
					defer server.Close()
					handler := server.Handler()
					ask(b, handler)
					b.ResetTimer()
					for range b.N {
						ask(b, handler)
					}
				})
			}
		})
	}
}

func call(b testing.TB, handler http.Handler, method, path, token, body string) []byte {
	b.Helper()
	req := httptest.NewRequest(method, path, bytes.NewReader([]byte(body)))
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		b.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// member is somebody in that many rooms of others, whose token it returns.
func member(b testing.TB, handler http.Handler, owners, rooms int) string {
	b.Helper()
	token := func(name string) string {
		var login mautrix.RespRegister
		decode(b, call(b, handler, http.MethodPost, "/_matrix/client/v3/register", "", fmt.Sprintf(`{"username":%q,"password":"correct horse","auth":{"type":"m.login.dummy"}}`, name)), &login)
		return login.AccessToken
	}
	many := token("many")
	var all sync.WaitGroup
	for i := range owners {
		owner := token(fmt.Sprint("owner", i))
		all.Go(func() {
			for n := range rooms / owners {
				var created mautrix.RespCreateRoom
				decode(b, call(b, handler, http.MethodPost, "/_matrix/client/v3/createRoom", owner, fmt.Sprintf(`{"preset":"public_chat","name":"Room %d of %d"}`, n, i)), &created)
				call(b, handler, http.MethodPost, fmt.Sprintf("/_matrix/client/v3/join/%s", created.RoomID), many, `{}`)
				for m := range 3 {
					call(b, handler, http.MethodPut, fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/%d", created.RoomID, m), owner, `{"msgtype":"m.text","body":"hello there, how are you"}`)
				}
			}
		})
	}
	all.Wait()
	return many
}
