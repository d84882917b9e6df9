package homeserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix"

	"trestle/internal/testkit"
)

// BenchmarkSend is a message by 64 senders at once, through the handler but
// without a network.
func BenchmarkSend(b *testing.B) {
	handler := open(b, testkit.SQLite(b), nil).Handler()
	do := func(method, path, token, body string) []byte {
		req := httptest.NewRequest(method, path, bytes.NewReader([]byte(body)))
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		raw, _ := io.ReadAll(w.Body)
		return raw
	}
	token, room := newcomer(b, do)
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			do(http.MethodPut, fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/%d", room, n.Add(1)), token, `{"msgtype":"m.text","body":"hello there, how are you"}`)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
}

// newcomer registers a user and makes a room.
func newcomer(b *testing.B, do func(method, path, token, body string) []byte) (token, room string) {
	b.Helper()
	var login mautrix.RespRegister
	decode(b, do(http.MethodPost, "/_matrix/client/v3/register", "", `{"username":"alice","password":"correct horse","auth":{"type":"m.login.dummy"}}`), &login)
	var created mautrix.RespCreateRoom
	decode(b, do(http.MethodPost, "/_matrix/client/v3/createRoom", login.AccessToken, `{"preset":"public_chat"}`), &created)
	return login.AccessToken, string(created.RoomID)
}
