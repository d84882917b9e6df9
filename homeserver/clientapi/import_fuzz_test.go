package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Whatever a bridge sends as a batch is refused or is events as they can be
// imported: with a sender and an ID that are such, content that is JSON, and no
// state.
func FuzzBatchSend(f *testing.F) {
	f.Add(`{"events":[{"event_id":"$x:net","sender":"@irc_a:hs","type":"m.room.message","origin_server_ts":1,"content":{"body":"x"}}],"forward":true}`)
	f.Add(`{"events":[{"sender":"@irc_a:hs","state_key":"","content":{}}],"mark_read_by":"@a:hs"}`)
	f.Add(`{"events":[{"event_id":"x","room_id":"!other:hs","sender":"a","content":1}],"forward_if_no_messages":1}`)
	f.Add(`{"events":null}`)
	f.Add(`{"Events":[]}`)
	var batch *batchSendRequest
	server := api.NewServer(api.Options{})
	server.Handle([]api.Route{api.Endpoint(http.MethodPost, "/_matrix/batch/{roomId}", api.None, func(_ context.Context, _ api.Caller, r *batchSendRequest) (*struct{}, error) {
		batch = r
		return nil, nil
	})})
	handler := server.Handler()
	f.Fuzz(func(t *testing.T, body string) {
		batch = nil
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/_matrix/batch/!r:hs", strings.NewReader(body)))
		if w.Code >= 500 || batch == nil && w.Code < 400 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if batch == nil {
			return
		}
		for _, e := range batch.Events {
			imported, err := e.imported(batch.Room)
			if err != nil {
				if matrix.Code(err) == "" {
					t.Errorf("%v is an error of the server's", err)
				}
				continue
			}
			if e.StateKey != nil || e.Room != "" && e.Room != batch.Room || !json.Valid(imported.Content) {
				t.Errorf("%+v goes in", e)
			}
			if _, err := matrix.ParseEventID(string(imported.ID)); imported.ID != "" && err != nil {
				t.Errorf("the ID %q goes in", imported.ID)
			}
		}
	})
}
