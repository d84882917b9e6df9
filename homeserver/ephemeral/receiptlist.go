package ephemeral

import (
	"context"
	"encoding/json"
	"sync"

	"trestle/homeserver/storage"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	// maxReceipts bounds the receipts of one room in one answer.
	maxReceipts = 5000
	// recentInRoom bounds the receipts of a room that are kept in memory,
	// recentRooms the rooms.
	recentInRoom = 32
	recentRooms  = 4096
)

// recentReceipts keeps the newest receipts of rooms, so that a receipt that
// hundreds of clients wait for is read from no table.
type recentReceipts struct {
	mu    sync.Mutex
	rooms *lru.Cache[int64, *roomReceipts]
}

// roomReceipts holds every receipt of a room after a position, oldest first.
type roomReceipts struct {
	complete int64
	list     []storage.Receipt
}

func newRecentReceipts() *recentReceipts {
	return &recentReceipts{rooms: lru.New[int64, *roomReceipts](recentRooms, nil)}
}

// add takes in the committed receipts of a position.
func (c *recentReceipts) add(nid, position int64, receipts []storage.Receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room, found := c.rooms.Get(nid)
	if !found {
		room = &roomReceipts{complete: position - 1}
		c.rooms.Put(nid, room)
	}
	room.list = append(room.list, receipts...)
	if surplus := len(room.list) - recentInRoom; surplus > 0 {
		room.complete = room.list[surplus-1].Position
		room.list = append(room.list[:0:0], room.list[surplus:]...)
	}
}

// in is the receipts in (since, upTo]; false if not all of them are known.
func (c *recentReceipts) in(nid, since, upTo int64) (list []storage.Receipt, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room, found := c.rooms.Get(nid)
	if !found || since < room.complete {
		return nil, false
	}
	for _, r := range room.list {
		if r.Position > since && r.Position <= upTo {
			list = append(list, r)
		}
	}
	return list, true
}

// receiptEvent is m.receipt as /sync shows it: by event, type and user.
type receiptEvent struct {
	Type    string                                                         `json:"type"`
	Content map[matrix.EventID]map[string]map[matrix.UserID]receiptContent `json:"content"`
	RoomID  matrix.RoomID                                                  `json:"room_id,omitempty"` // not in /sync
}

type receiptContent struct {
	TS     int64  `json:"ts"`
	Thread string `json:"thread_id,omitempty"`
}

// ReceiptsSince is the m.receipt event with the receipts of a room in
// (since, upTo] that a reader may see, or nil if there are none. If there are
// too many, the oldest ones of others are left out.
func (s *Service) ReceiptsSince(ctx context.Context, room matrix.RoomID, since, upTo int64, reader matrix.UserID) (json.RawMessage, error) {
	info, err := s.store.Rooms.Info(ctx, room)
	if err != nil {
		return nil, err
	}
	list, known := s.recent.in(info.NID, since, upTo)
	if !known {
		if list, err = s.options.Receipts.InRoom(ctx, info.NID, since, upTo, reader, maxReceipts); err != nil {
			return nil, err
		}
	}
	return eventOf(list, reader)
}

// ReceiptsOf is the m.receipt events of some rooms with the receipts up to a
// position, by the numbers of the rooms. known is false where they are too many
// to be read at once.
func (s *Service) ReceiptsOf(ctx context.Context, rooms []int64, upTo int64, reader matrix.UserID) (events map[int64]json.RawMessage, known bool, err error) {
	list, err := s.options.Receipts.InRooms(ctx, rooms, upTo, reader, maxReceipts)
	if err != nil || len(list) == maxReceipts {
		return nil, false, err
	}
	events = map[int64]json.RawMessage{}
	for len(list) > 0 {
		n, room := 1, list[0].RoomNID
		for n < len(list) && list[n].RoomNID == room {
			n++
		}
		event, err := eventOf(list[:n], reader)
		if err != nil {
			return nil, false, err
		}
		if event != nil {
			events[room] = event
		}
		list = list[n:]
	}
	return events, true, nil
}

// eventOf is the m.receipt event of the receipts that a reader may see, or nil.
func eventOf(list []storage.Receipt, reader matrix.UserID) (json.RawMessage, error) {
	event := receiptEvent{Type: "m.receipt", Content: map[matrix.EventID]map[string]map[matrix.UserID]receiptContent{}}
	for _, r := range newestOf(list, reader) {
		event.add(r)
	}
	if len(event.Content) == 0 {
		return nil, nil
	}
	return json.Marshal(event)
}

// receiptKey is of what a user has one receipt in a room.
type receiptKey struct {
	user         matrix.UserID
	kind, thread string
}

// newestOf is the receipts that a reader may see, only the newest of each
// user, type and thread.
func newestOf(list []storage.Receipt, reader matrix.UserID) map[receiptKey]storage.Receipt {
	newest := make(map[receiptKey]storage.Receipt, len(list))
	for _, r := range list {
		if r.Type == ReadPrivate && r.User != reader {
			continue
		}
		key := receiptKey{r.User, r.Type, r.Thread}
		if newest[key].Position <= r.Position {
			newest[key] = r
		}
	}
	return newest
}

// add puts a receipt into the event. A user has one place for each event and
// type in it: a receipt for the whole room, whose thread is empty, goes before
// those of threads, since it says more.
func (e *receiptEvent) add(r storage.Receipt) {
	types := e.Content[r.Event]
	if types == nil {
		types = map[string]map[matrix.UserID]receiptContent{}
		e.Content[r.Event] = types
	}
	users := types[r.Type]
	if users == nil {
		users = map[matrix.UserID]receiptContent{}
		types[r.Type] = users
	}
	if there, found := users[r.User]; found && there.Thread < r.Thread {
		return
	}
	users[r.User] = receiptContent{TS: r.TS, Thread: r.Thread}
}
