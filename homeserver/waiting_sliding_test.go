package homeserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"maunium.net/go/mautrix"

	"trestle/internal/testkit"
)

// A request of sliding sync is parked with its body.
func TestALongWaitInSlidingSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		base, _ := run(t, url)
		ctx := t.Context()
		alice := login(t, base, "alice")
		room, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		type answer struct {
			Pos   string
			Rooms map[string]struct {
				Timeline []struct{ Content struct{ Body string } }
			}
		}
		ask := func(pos string, timeout int) (a answer, err error) {
			body := fmt.Appendf(nil, `{"pos":%q,"timeout":%d,"room_subscriptions":{%q:{"timeline_limit":5}}}`, pos, timeout, room.RoomID)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/_matrix/client/v4/sync", bytes.NewReader(body))
			if err != nil {
				return a, err
			}
			req.Header.Set("Authorization", "Bearer "+alice.AccessToken)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return a, err
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK {
				return a, fmt.Errorf("status %d", res.StatusCode)
			}
			err = json.NewDecoder(res.Body).Decode(&a)
			return a, err
		}
		first, err := ask("", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", "two"} {
			heard := make(chan error, 1)
			go func() {
				next, err := ask(first.Pos, 60_000)
				if said := next.Rooms[string(room.RoomID)].Timeline; err == nil && (len(said) != 1 || said[0].Content.Body != text) {
					err = fmt.Errorf("answered %+v", next)
				}
				first = next
				heard <- err
			}()
			untilParked(t)
			if _, err := alice.SendText(ctx, room.RoomID, text); err != nil {
				t.Fatal(err)
			}
			if err := <-heard; err != nil {
				t.Fatal(err)
			}
		}
		if next, err := ask(first.Pos, 700); err != nil || len(next.Rooms) != 0 || next.Pos == first.Pos {
			t.Errorf("after a wait without news: %+v, %v", next, err)
		}
	})
}
