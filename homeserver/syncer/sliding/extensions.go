package sliding

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"trestle/homeserver/notifier"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// extensions is what a client wants beside rooms.
type extensions struct {
	ToDevice struct {
		Enabled bool   `json:"enabled"`
		Since   string `json:"since"`
	} `json:"to_device"`
	E2EE struct {
		Enabled bool `json:"enabled"`
	} `json:"e2ee"`
	AccountData roomExtension `json:"account_data"`
	Receipts    roomExtension `json:"receipts"`
	Typing      roomExtension `json:"typing"`
	// As long as it is a proposal.
	Threads threadExtension `json:"io.element.msc4308.thread_subscriptions"`

	since int64 // of to_device
}

// A roomExtension concerns the rooms of some lists, and some of the rooms that
// are subscribed to; nil or "*" is all.
type roomExtension struct {
	Enabled bool     `json:"enabled"`
	Lists   []string `json:"lists"`
	Rooms   []string `json:"rooms"`
}

func (x *extensions) check() error {
	for _, e := range []*roomExtension{&x.AccountData, &x.Receipts, &x.Typing} {
		if len(e.Lists) > maxLists || len(e.Rooms) > maxFilterValues {
			return matrix.InvalidParam("An extension has at most %d lists and %d rooms.", maxLists, maxFilterValues)
		}
	}
	if since := x.ToDevice.Since; since != "" {
		var err error
		if x.since, err = strconv.ParseInt(since, 10, 64); err != nil || x.since < 0 {
			return matrix.InvalidParam("%.100q is no since of to_device of this server.", since)
		}
	}
	return x.Threads.check()
}

// acknowledge takes in that the device has the messages before its since.
func (s *Service) acknowledge(ctx context.Context, req *Request) error {
	x := &req.extensions
	x.since = min(x.since, s.sync.Notifier.Position())
	if !x.ToDevice.Enabled || req.Device == "" || x.since == 0 {
		return nil
	}
	return s.sync.Keys.Acknowledge(ctx, req.User, req.Device, x.since)
}

// device puts in what the extensions ask for that no room has to do with, and reports
// whether a client waits for something of it.
func (a *answer) device() (news bool, err error) {
	x := &a.req.extensions
	if a.req.Device == "" {
		return false, nil
	}
	if x.ToDevice.Enabled {
		if news, err = a.toDevice(); err != nil {
			return false, err
		}
	}
	if x.E2EE.Enabled {
		moved, err := a.e2ee()
		return news || moved, err
	}
	return news, nil
}

// extend puts in what the other extensions ask for.
func (a *answer) extend() error {
	x := &a.req.extensions
	for _, part := range []struct {
		enabled bool
		fill    func() error
	}{
		{x.AccountData.Enabled, a.accountData},
		{x.Receipts.Enabled, a.receipts},
		{x.Typing.Enabled, a.typing},
		{x.Threads.Enabled, a.threads},
	} {
		if part.enabled {
			if err := part.fill(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *answer) toDevice() (news bool, err error) {
	since := a.req.extensions.since
	messages, next, err := a.sync.Keys.ToDevice(a.ctx, a.req.User, a.req.Device, since, a.snap.Position)
	if err != nil {
		return false, err
	}
	if next == 0 {
		next = a.snap.Position
	}
	a.resp.Extensions.ToDevice = &ToDevice{NextBatch: strconv.FormatInt(next, 10), Events: append([]json.RawMessage{}, messages...)}
	return len(messages) > 0, nil
}

func (a *answer) e2ee() (news bool, err error) {
	base := &a.conn.base
	e2ee := &E2EE{OneTimeKeys: map[string]int{}, FallbackKeys: []string{}}
	a.resp.Extensions.E2EE = e2ee
	if base.number > 0 && a.snap.Changed(notifier.DeviceList, base.token.Position) {
		changed, gone, err := a.sync.Keys.DeviceLists(a.ctx, a.req.User, base.token.Position, a.snap.Position)
		if err != nil {
			return false, err
		}
		if len(changed)+len(gone) > 0 {
			e2ee.DeviceLists = &DeviceLists{append([]matrix.UserID{}, changed...), append([]matrix.UserID{}, gone...)}
			news = true
		}
	}
	oneTime, fallback, err := a.sync.Keys.Counts(a.ctx, a.req.User, a.req.Device)
	if oneTime != nil {
		e2ee.OneTimeKeys = oneTime
	}
	if fallback != nil {
		e2ee.FallbackKeys = fallback
	}
	return news, err
}

// begun remembers how an extension is set, and reports whether it is so since
// the base: otherwise it starts from the beginning.
func (a *answer) begun(name string, x *roomExtension) bool {
	raw, err := json.Marshal(x)
	if err != nil {
		panic(err) // texts always marshal
	}
	a.next.extras[name] = string(raw)
	return a.conn.base.extras[name] == string(raw)
}

// concerned is the rooms, among those in the answer's window, that an extension is about.
func (a *answer) concerned(x *roomExtension) []*entry {
	everyList := x.Lists == nil || slices.Contains(x.Lists, "*")
	everyRoom := x.Rooms == nil || slices.Contains(x.Rooms, "*")
	var list []*entry
	for _, e := range a.entries {
		for _, number := range a.matches[e.at.NID] {
			r := &a.rules[number]
			if r.list != "" && (everyList || slices.Contains(x.Lists, r.list)) ||
				r.list == "" && (everyRoom || slices.Contains(x.Rooms, string(r.room))) {
				list = append(list, e)
				break
			}
		}
	}
	return list
}

func (a *answer) accountData() error {
	x, base := &a.req.extensions.AccountData, &a.conn.base
	begun := a.begun("account_data", x)
	data := &AccountData{Rooms: map[matrix.RoomID][]json.RawMessage{}}
	changed := a.snap.Changed(notifier.AccountData, base.token.Position)
	since := base.token.Position
	if !begun {
		since = 0
	}
	if !begun || changed {
		var err error
		if data.Global, err = a.sync.AccountData.AccountDataSince(a.ctx, a.req.User, since, a.snap.Position); err != nil {
			return err
		}
	}
	if err := a.roomAccountData(data, begun, changed, since); err != nil {
		return err
	}
	if len(data.Global)+len(data.Rooms) > 0 {
		a.resp.Extensions.AccountData = data
		a.news = true
	}
	return nil
}

// roomAccountData puts in all data for rooms that are new to the extension, and
// for the others what has changed.
func (a *answer) roomAccountData(data *AccountData, begun, changed bool, since int64) error {
	base := &a.conn.base
	var anew []matrix.RoomID
	live := map[matrix.RoomID]bool{}
	for _, e := range a.concerned(&a.req.extensions.AccountData) {
		was := base.rooms[e.at.NID]
		switch {
		case !begun || was == nil || !base.window[e.at.NID] && a.snap.Changed(notifier.AccountData, was.seen.Position):
			anew = append(anew, e.info.ID)
		case base.window[e.at.NID]:
			live[e.info.ID] = true
		}
	}
	if len(anew) > 0 {
		all, err := a.sync.AccountData.RoomAccountDataOf(a.ctx, a.req.User, anew, a.snap.Position)
		if err != nil {
			return err
		}
		for _, id := range anew {
			if len(all[id]) > 0 {
				data.Rooms[id] = all[id]
			}
		}
	}
	if len(live) > 0 && changed {
		all, err := a.sync.AccountData.RoomAccountDataSince(a.ctx, a.req.User, since, a.snap.Position)
		if err != nil {
			return err
		}
		for id, events := range all {
			if live[id] {
				data.Rooms[id] = events
			}
		}
	}
	return nil
}

func (a *answer) receipts() error {
	x, base := &a.req.extensions.Receipts, &a.conn.base
	begun := a.begun("receipts", x)
	found := map[matrix.RoomID]json.RawMessage{}
	var anew []*entry
	for _, e := range a.concerned(x) {
		was := base.rooms[e.at.NID]
		if e.kind != joined {
			continue
		}
		if !begun || was == nil || was.kind != joined {
			anew = append(anew, e)
			continue
		}
		since := a.since(e.at.NID, was).Position
		if base.window[e.at.NID] && !a.active[e.at.NID] || a.snap.Room(e.at.NID).Receipts <= since {
			continue
		}
		event, err := a.sync.Ephemeral.ReceiptsSince(a.ctx, e.info.ID, since, a.snap.Position, a.req.User)
		if err != nil {
			return err
		}
		if event != nil {
			found[e.info.ID] = event
		}
	}
	if err := a.allReceipts(anew, found); err != nil {
		return err
	}
	if len(found) > 0 {
		a.resp.Extensions.Receipts = &RoomEvents{found}
		a.news = true
	}
	return nil
}

// allReceipts finds the receipts of rooms of which the client knows none.
func (a *answer) allReceipts(rooms []*entry, found map[matrix.RoomID]json.RawMessage) error {
	for chunk := range slices.Chunk(rooms, 100) {
		nids := make([]int64, len(chunk))
		for i, e := range chunk {
			nids[i] = e.at.NID
		}
		ahead := new(syncer.Ahead)
		if err := a.sync.ReadReceipts(a.ctx, ahead, nids, a.snap.Position, a.req.User); err != nil {
			return err
		}
		for _, e := range chunk {
			event, err := a.sync.AllReceipts(a.ctx, ahead, e.info, a.snap.Position, a.req.User)
			if err != nil {
				return err
			}
			if event != nil {
				found[e.info.ID] = event
			}
		}
	}
	return nil
}

// emptyTyping is in the event of a room where nobody types.
var emptyTyping = []byte(`"user_ids":[]`)

func (a *answer) typing() error {
	x, base := &a.req.extensions.Typing, &a.conn.base
	begun := a.begun("typing", x)
	found := map[matrix.RoomID]json.RawMessage{}
	for _, e := range a.concerned(x) {
		if e.kind != joined {
			continue
		}
		nid := e.at.NID
		was := base.rooms[nid]
		known := begun && was != nil
		if known && (base.window[nid] && !a.active[nid] || a.snap.Room(nid).Serial <= a.since(nid, was).Serial) {
			continue
		}
		event, err := a.sync.Ephemeral.Typing(a.ctx, e.info.ID)
		if err != nil {
			return err
		}
		// That nobody types is news only to whoever saw somebody type.
		if event != nil && (known || !bytes.Contains(event, emptyTyping)) {
			found[e.info.ID] = event
		}
	}
	if len(found) > 0 {
		a.resp.Extensions.Typing = &RoomEvents{found}
		a.news = true
	}
	return nil
}
