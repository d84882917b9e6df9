package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// Whatever a bridge sends as steps is refused or is what could have been sent one by one.
func FuzzOrderedSend(f *testing.F) {
	f.Add(`{"steps":[{"sender":"@irc_a:hs","type":"m.room.message","txn_id":"1","ts":5,"content":{"body":"x"}}],"stop":true,"known":"$x"}`)
	f.Add(`{"steps":[{"type":"m.room.member","state_key":"@a:hs","register":true,"displayname":"A","content":{"membership":"join"}}]}`)
	f.Add(`{"steps":[{"sender":"a","type":"","txn_id":1,"content":[]}]}`)
	f.Add(`{"steps":[{"type":"x\u0000","txn_id":"\ud800","ts":-1,"content":{"a":1e400}}]}`)
	f.Add(`{"steps":null}`)
	var read *orderedRequest
	server := api.NewServer(api.Options{})
	server.Handle([]api.Route{api.Endpoint(http.MethodPost, "/_matrix/ordered/{roomId}", api.None, func(_ context.Context, _ api.Caller, r *orderedRequest) (*struct{}, error) {
		read = r
		return nil, nil
	})})
	handler := server.Handler()
	f.Fuzz(func(t *testing.T, body string) {
		read = nil
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/_matrix/ordered/!r:hs", strings.NewReader(body)))
		if w.Code >= 500 || read == nil && w.Code < 400 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if read == nil {
			return
		}
		if len(read.Steps) > rooms.MaxSteps {
			t.Errorf("%d steps", len(read.Steps))
		}
		for i := range read.Steps {
			req, err := read.Steps[i].request(api.Caller{UserID: "@irc_a:hs", AppService: "irc"}, read.Room, read.Known)
			if err != nil {
				if matrix.Code(err) == "" {
					t.Errorf("%v is an error of the server's", err)
				}
				continue
			}
			if !json.Valid(req.Content) || req.Type == "" || req.StateKey == nil && req.TxnKey == "" || strings.Contains(req.Type+req.TxnKey, "\x00") || req.Timestamp < 0 {
				t.Errorf("%+v goes in", req)
			}
		}
	})
}
