package homeserver

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"trestle/appservice/sender"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// asides is what application services are sent besides events. It stands in
// front of the notifier, and so learns of every change; it knows up to which
// position there is something of each kind, so that where nothing is, nothing
// is read.
type asides struct {
	*notifier.Notifier
	registry  *registration.Registry
	store     *storage.Store
	sender    *sender.Service
	ephemeral *ephemeral.Service

	receipts, messages, devices, keys newest
}

// A newest is a position above which there is nothing of some kind.
type newest struct{ position atomic.Int64 }

func (n *newest) reach(position int64) {
	for {
		old := n.position.Load()
		if position <= old || n.position.CompareAndSwap(old, position) {
			return
		}
	}
}

func (n *newest) above(position int64) bool { return n.position.Load() > position }

// unsure makes everything up to a position be looked at, as at the start.
func (a *asides) unsure(position int64) {
	for _, n := range []*newest{&a.receipts, &a.messages, &a.devices, &a.keys} {
		n.reach(position)
	}
}

func (a *asides) anyone(wants func(*registration.Registration) bool) bool {
	return slices.ContainsFunc(a.registry.Load().All(), wants)
}

func wantsDevices(r *registration.Registration) bool { return r.DeviceLists }

// wake tells the sender of a position, once the notifier knows it.
func (a *asides) wake(position int64, wanted bool) {
	if wanted {
		a.sender.Wake(position)
	}
}

// ReceiptsChanged takes in a committed receipt in a room.
func (a *asides) ReceiptsChanged(nid, position int64) {
	a.receipts.reach(position)
	a.Notifier.ReceiptsChanged(nid, position)
	a.wake(position, a.anyone((*registration.Registration).WantsEphemeral))
}

// UserChanged takes in a committed change that concerns one user alone.
func (a *asides) UserChanged(user matrix.UserID, kind notifier.Kind, position int64) {
	wanted := false
	switch kind {
	case notifier.ToDevice:
		if wanted = len(receivers(a.registry.Load(), user)) > 0; wanted {
			a.messages.reach(position)
		}
	case notifier.Keys:
		if wanted = a.Told(user); wanted {
			a.keys.reach(position)
		}
	}
	a.Notifier.UserChanged(user, kind, position)
	a.wake(position, wanted)
}

// MatesChanged takes in a committed change that concerns a user and everybody
// who shares a room with it.
func (a *asides) MatesChanged(user matrix.UserID, nids []int64, kind notifier.Kind, position int64) {
	if kind == notifier.DeviceList {
		a.devices.reach(position)
	}
	a.Notifier.MatesChanged(user, nids, kind, position)
	a.wake(position, kind == notifier.DeviceList && a.anyone(wantsDevices))
}

// TypingChanged takes in that who types in a room has changed.
func (a *asides) TypingChanged(nid int64) {
	a.Notifier.TypingChanged(nid)
	if !a.anyone((*registration.Registration).WantsEphemeral) {
		return
	}
	a.sender.Offer(sender.Offer{Key: "typing " + strconv.FormatInt(nid, 10), Make: func(ctx context.Context) (sender.Change, error) {
		info, err := a.store.Rooms.InfoOf(ctx, nid)
		if errors.Is(err, database.ErrNoRows) {
			return sender.Change{}, nil
		}
		if err != nil {
			return sender.Change{}, err
		}
		body := func() []byte { return a.ephemeral.TypingIn(nid, info.ID) }
		return sender.Change{Kind: sender.Ephemeral, Room: info.ID, Body: written(body)}, nil
	}})
}

// PresenceChanged takes in that the presence of somebody in these rooms has
// changed, and returns the serial of that.
func (a *asides) PresenceChanged(user matrix.UserID, nids []int64) int64 {
	serial := a.Notifier.PresenceChanged(user, nids)
	if !a.anyone((*registration.Registration).WantsEphemeral) {
		return serial
	}
	a.sender.Offer(sender.Offer{Key: "presence " + string(user), Make: func(ctx context.Context) (sender.Change, error) {
		rooms, err := a.roomIDs(ctx, nids)
		body := func() []byte { return a.ephemeral.PresenceOf(user) }
		return sender.Change{Kind: sender.Ephemeral, Sender: user, Rooms: rooms, Body: written(body)}, err
	}})
	return serial
}

// roomIDs is the IDs of rooms, but of those that are no more.
func (a *asides) roomIDs(ctx context.Context, nids []int64) ([]matrix.RoomID, error) {
	ids := make([]matrix.RoomID, 0, len(nids))
	for _, nid := range nids {
		info, err := a.store.Rooms.InfoOf(ctx, nid)
		if errors.Is(err, database.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, info.ID)
	}
	return ids, nil
}

// written is a body that is made when it is asked for.
type written func() []byte

func (w written) AppendJSON(dst []byte) []byte { return append(dst, w()...) }

// text is a body that is there already.
type text []byte

func (t text) AppendJSON(dst []byte) []byte { return append(dst, t...) }

// collect makes changes of the entries of pages until they are enough, or
// there are no more entries, as each page says.
func collect[E any](after int64, limit int, page func(after int64) (list []E, more bool, err error), at func(E) int64,
	changes func([]E) ([]sender.Change, error),
) ([]sender.Change, error) {
	var all []sender.Change
	for {
		entries, more, err := page(after)
		if err != nil || len(entries) == 0 {
			return all, err
		}
		made, err := changes(entries)
		if err != nil {
			return nil, err
		}
		all = append(all, made...)
		if !more || sender.Full(all, limit) {
			return all, nil
		}
		after = at(entries[len(entries)-1])
	}
}

// counted makes pages of some that are the last ones if they have fewer entries.
func counted[E any](limit int, page func(after int64) ([]E, error)) func(after int64) ([]E, bool, error) {
	return func(after int64) ([]E, bool, error) {
		list, err := page(after)
		return list, len(list) >= limit, err
	}
}

// receiptSource is receipts, of each kind and person in a room the newest.
type receiptSource struct {
	*asides
	table *storage.Receipts
}

// Changes is the receipts in a part of the stream.
func (s receiptSource) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	if !s.receipts.above(after) || !s.anyone((*registration.Registration).WantsEphemeral) {
		return nil, nil
	}
	page := counted(limit, func(after int64) ([]storage.Receipt, error) { return s.table.Stream(ctx, after, upTo, limit) })
	at := func(r storage.Receipt) int64 { return r.Position }
	return collect(after, limit, page, at, func(list []storage.Receipt) (changes []sender.Change, err error) {
		for _, r := range list {
			info, err := s.store.Rooms.InfoOf(ctx, r.RoomNID)
			if errors.Is(err, database.ErrNoRows) {
				continue
			}
			if err != nil {
				return nil, err
			}
			body := ephemeral.ReceiptIn(info.ID, r)
			changes = append(changes, sender.Change{
				Position: r.Position, Kind: sender.Ephemeral, Room: info.ID, Sender: r.User, Private: r.Type == ephemeral.ReadPrivate,
				Time: r.TS, Size: len(body), Body: text(body),
				Key: "receipt " + strconv.FormatInt(r.RoomNID, 10) + " " + string(r.User) + " " + r.Type + " " + r.Thread,
			})
		}
		return changes, nil
	})
}
