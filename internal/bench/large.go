package bench

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// firstSliding is what a client for phones asks first: the rooms of one screen.
var firstSliding = map[string]any{
	"conn_id": "room-list",
	"lists": map[string]any{"all_rooms": map[string]any{
		"ranges": [][]int{{0, 19}}, "timeline_limit": 1, "filters": map[string]any{"not_room_types": []string{"m.space"}},
		"required_state": [][]string{
			{"m.room.name", ""}, {"m.room.encryption", ""}, {"m.room.member", "$LAZY"}, {"m.room.member", "$ME"}, {"m.room.topic", ""},
			{"m.room.canonical_alias", ""}, {"m.room.power_levels", ""}, {"m.room.join_rules", ""}, {"m.room.create", ""}, {"m.room.tombstone", ""},
		},
	}},
	"extensions": map[string]any{
		"account_data": map[string]any{"enabled": true}, "receipts": map[string]any{"enabled": true}, "typing": map[string]any{"enabled": true},
		"to_device": map[string]any{"enabled": true}, "e2ee": map[string]any{"enabled": true},
	},
}

// large is how long a user of many rooms waits for the first answer, right
// after the server has started and, as usual, when it runs for a while.
func (b *run) large() error {
	if b.options.Rooms < 2 {
		return nil
	}
	token, err := b.member()
	if err != nil {
		return err
	}
	const lazy = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":20}}}`
	for _, c := range []struct {
		name, method, path string
		body               any
	}{
		{"first sliding sync answer", http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", firstSliding},
		{"first /sync", http.MethodGet, "/_matrix/client/v3/sync?filter=" + url.QueryEscape(lazy), nil},
	} {
		b.server.kill()
		if err := b.server.start(b.ctx); err != nil {
			return err
		}
		var took []time.Duration
		for range 5 {
			begin := time.Now()
			if err := b.client.call(b.ctx, c.method, c.path, token, c.body, nil); err != nil {
				return err
			}
			took = append(took, time.Since(begin))
		}
		name := fmt.Sprintf("%s of an account with %d rooms", c.name, b.options.Rooms)
		b.figure(name+", right after the start", "%.1f ms", milliseconds(took[0]))
		slices.Sort(took)
		b.figure(name, "%.1f ms", milliseconds(took[len(took)/2]))
	}
	return nil
}

// member makes an account that is in many rooms, a few of each of the others'.
func (b *run) member() (token string, err error) {
	many, err := b.client.register(b.ctx, "many")
	if err != nil {
		return "", err
	}
	errs := make(chan error, b.options.Senders)
	var all sync.WaitGroup
	for i, owner := range b.users {
		all.Go(func() {
			for n := i; n < b.options.Rooms-1; n += len(b.users) {
				if err := b.fill(owner.token, many.token, fmt.Sprint("Room ", n)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return many.token, <-errs
}

// fill makes a room in which somebody has said something, with a second member.
func (b *run) fill(owner, guest, name string) error {
	var created struct {
		RoomID string `json:"room_id"`
	}
	err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v3/createRoom", owner, map[string]any{"preset": "public_chat", "name": name}, &created)
	if err != nil {
		return err
	}
	if err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v3/join/"+url.PathEscape(created.RoomID), guest, map[string]any{}, nil); err != nil {
		return err
	}
	for n := range 3 {
		if err := b.client.send(b.ctx, owner, created.RoomID, fmt.Sprint("fill-", n)); err != nil {
			return err
		}
	}
	return nil
}
