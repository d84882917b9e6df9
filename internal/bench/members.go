package bench

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// members is how long it takes until a service has a message from a large room
// in which its interest is that of its users: right after a start, when the
// server has to find out who is there, and when it knows.
func (b *run) members() error {
	if b.options.Members == 0 {
		return nil
	}
	large, err := b.crowded(b.options.Members)
	if err != nil {
		return err
	}
	small, err := b.crowded(1)
	if err != nil {
		return err
	}
	b.server.kill()
	if err := b.server.start(b.ctx); err != nil {
		return err
	}
	const rounds = 100
	var took [2][]time.Duration
	for round := range rounds + 1 {
		for i, room := range []string{large, small} {
			txn := fmt.Sprintf("mark-room%d-%d", i, round)
			begin := time.Now()
			if err := b.client.send(b.ctx, b.users[0].token, room, txn); err != nil {
				return err
			}
			if err := b.arrived(txn, time.Minute); err != nil {
				return err
			}
			took[i] = append(took[i], time.Since(begin))
		}
	}
	first := took[0][0]
	for i := range took {
		took[i] = took[i][1:]
		slices.Sort(took[i])
	}
	b.figure(fmt.Sprintf("send → application service from a room of %d, the first after a start", b.options.Members), "%.2f ms", milliseconds(first))
	b.figure("send → application service from that room and from one of 2, p50", "%.2f and %.2f ms", milliseconds(took[0][rounds/2]), milliseconds(took[1][rounds/2]))
	return nil
}

// crowded makes a room of a person and that many users of the service.
func (b *run) crowded(ghosts int) (string, error) {
	var created struct {
		RoomID string `json:"room_id"`
	}
	if err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v3/createRoom", b.users[0].token, map[string]any{"preset": "public_chat"}, &created); err != nil {
		return "", err
	}
	var all sync.WaitGroup
	var next atomic.Int64
	failures := make(chan error, b.options.Senders)
	for range b.options.Senders {
		all.Go(func() {
			for n := next.Add(1); n <= int64(ghosts); n = next.Add(1) {
				if err := b.haunt(created.RoomID, fmt.Sprintf("ghost_%d_%d", ghosts, n)); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failures:
		return "", err
	default:
		return created.RoomID, nil
	}
}

// haunt makes a user of the service and joins it to a room.
func (b *run) haunt(room, localpart string) error {
	err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v3/register", b.service.asToken, map[string]any{
		"type": "m.login.application_service", "username": localpart, "inhibit_login": true,
	}, nil)
	if err != nil {
		return err
	}
	path := "/_matrix/client/v3/join/" + url.PathEscape(room) + "?user_id=" + url.QueryEscape("@"+localpart+":bench")
	return b.client.call(b.ctx, http.MethodPost, path, b.service.asToken, map[string]any{}, nil)
}
