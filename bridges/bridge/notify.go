package bridge

import (
	"context"
	"crypto/rand"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// Notify tells a person something in the rooms where they talk to the bridge; false if there
// is none.
func (b *Bridge) Notify(user matrix.UserID, text string) bool {
	b.mu.Lock()
	var rooms []matrix.RoomID
	for room, person := range b.management {
		if person == user {
			rooms = append(rooms, room)
		}
	}
	b.mu.Unlock()
	for _, room := range rooms {
		txn := b.instance + ".n" + rand.Text()
		b.goRun(func() {
			err := client.Retry(b.ctx, b.noteFailing("tell a person something"), func(ctx context.Context) error {
				_, err := b.post(ctx, b.client.Bot(), nil, room, client.Message{
					Type:          "m.room.message",
					Content:       map[string]string{"msgtype": "m.notice", "body": text},
					TransactionID: txn,
				})
				return err
			})
			if err != nil && b.ctx.Err() == nil {
				b.log.Info("a person was not told", "room", room, "err", err)
			}
		})
	}
	return len(rooms) > 0
}
