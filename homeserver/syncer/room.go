package syncer

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// rooms fills the part of the answer about rooms.
func (b *build) rooms() error {
	data, err := b.roomAccountData()
	if err != nil {
		return err
	}
	part := Rooms{
		Join: map[matrix.RoomID]*JoinedRoom{}, Invite: map[matrix.RoomID]*InvitedRoom{},
		Knock: map[matrix.RoomID]*KnockedRoom{}, Leave: map[matrix.RoomID]*LeftRoom{},
	}
	chosen := b.candidates(data)
	if b.initial || b.req.FullState {
		err = b.many(&part, chosen, data)
	} else {
		err = b.each(&part, chosen, slices.Collect(maps.Keys(chosen)), data)
	}
	if err != nil {
		return err
	}
	if len(part.Join)+len(part.Invite)+len(part.Knock)+len(part.Leave) > 0 {
		b.resp.Rooms = &part
	}
	return nil
}

// each puts rooms into the answer.
func (b *build) each(part *Rooms, chosen map[int64]notifier.Room, nids []int64, data map[matrix.RoomID][]json.RawMessage) error {
	for _, nid := range nids {
		info, err := b.Store.Rooms.InfoOf(b.ctx, nid)
		if err != nil {
			return err
		}
		if !b.req.Filter.Room.AllowsRoom(info.ID) {
			continue
		}
		if err := b.room(part, info, chosen[nid], data[info.ID]); err != nil {
			return err
		}
	}
	return nil
}

// many does the same for a client that knows no room. What it needs of them is
// read of many at once.
func (b *build) many(part *Rooms, chosen map[int64]notifier.Room, data map[matrix.RoomID][]json.RawMessage) error {
	var in, out []int64
	for nid, at := range chosen {
		if at.Membership == "join" {
			in = append(in, nid)
		} else {
			out = append(out, nid)
		}
	}
	filter := &b.req.Filter.Room
	limit := limitOf(&filter.Timeline, usualTimeline, maxTimeline)
	if err := b.Store.Rooms.Learn(b.ctx, in); err != nil {
		return err
	}
	read := func(ctx context.Context, nids []int64) (*Ahead, error) {
		if filter.Rooms != nil {
			return nil, nil
		}
		ahead, err := b.ReadAhead(ctx, nids, b.snap.Position, limit, b.req.User, filter.State.LazyLoadMembers)
		if err != nil {
			return nil, err
		}
		return ahead, b.ReadReceipts(ctx, ahead, nids, b.snap.Position, b.req.User)
	}
	err := inParts(b.ctx, in, read, func(nids []int64, ahead *Ahead) error {
		b.ahead = ahead
		return b.each(part, chosen, nids, data)
	})
	if err != nil {
		return err
	}
	b.ahead = nil
	return b.each(part, chosen, out, data)
}

func (b *build) roomAccountData() (map[matrix.RoomID][]json.RawMessage, error) {
	if !b.fresh(notifier.AccountData) {
		return nil, nil
	}
	return b.AccountData.RoomAccountDataSince(b.ctx, b.req.User, b.since.Position, b.snap.Position)
}

// candidates is the rooms that there may be something new of.
func (b *build) candidates(data map[matrix.RoomID][]json.RawMessage) map[int64]notifier.Room {
	if b.initial || b.req.FullState {
		return b.snap.Rooms
	}
	chosen := map[int64]notifier.Room{}
	for _, nid := range b.snap.Active(b.since.Position, b.since.Serial) {
		chosen[nid] = b.snap.Rooms[nid]
	}
	for nid, at := range b.snap.Rooms {
		if at.Position > b.since.Position {
			chosen[nid] = at
		}
	}
	for id := range data {
		info, err := b.Store.Rooms.Info(b.ctx, id)
		if err != nil {
			continue // account data may name any room
		}
		if at, ok := b.snap.Rooms[info.NID]; ok && at.Membership == "join" {
			chosen[info.NID] = at
		}
	}
	return chosen
}

func (b *build) room(part *Rooms, info *storage.RoomInfo, at notifier.Room, data []json.RawMessage) error {
	isNew := b.initial || at.Position > b.since.Position
	switch at.Membership {
	case "join":
		joined, err := b.joinedRoom(info, at, data)
		if joined != nil {
			part.Join[info.ID] = joined
		}
		return err
	case "invite", "knock":
		if !isNew {
			return nil
		}
		stripped, err := b.stripped(info, at)
		if err != nil {
			return err
		}
		if at.Membership == "knock" {
			part.Knock[info.ID] = &KnockedRoom{EventList{stripped}}
		} else if stripped != nil {
			part.Invite[info.ID] = &InvitedRoom{EventList{stripped}}
		}
		return nil
	}
	archive := (b.initial || b.req.FullState) && b.req.Filter.Room.IncludeLeave && !at.Forgotten
	if news := isNew && !b.initial; !news && !archive {
		return nil
	}
	left, err := b.leftRoom(info, at, data)
	if left != nil {
		part.Leave[info.ID] = left
	}
	return err
}

// joinedRoom is what is new in a room, or nil.
func (b *build) joinedRoom(info *storage.RoomInfo, at notifier.Room, data []json.RawMessage) (*JoinedRoom, error) {
	activity := b.ahead.Activity(info.NID, b.snap.Room(info.NID))
	newcomer, err := b.isNewcomer(at)
	if err != nil {
		return nil, err
	}
	c := &change{build: b, info: info, whole: newcomer || b.req.FullState, newcomer: newcomer, upTo: b.snap.Position}
	joined := new(JoinedRoom)
	if c.whole || activity.Last > b.since.Position {
		if err := c.load(activity); err != nil {
			return nil, err
		}
		if joined.Timeline, err = c.timeline(); err != nil {
			return nil, err
		}
		if joined.Summary, err = c.summary(); err != nil {
			return nil, err
		}
		if joined.State, joined.StateAfter, err = c.state(); err != nil {
			return nil, err
		}
	}
	joined.Ephemeral, err = b.ephemeral(info, activity, newcomer)
	if err != nil {
		return nil, err
	}
	if newcomer && !b.initial {
		// What the user kept of this room from an earlier time was not sent while it was out.
		all, err := b.AccountData.RoomAccountDataSince(b.ctx, b.req.User, 0, b.snap.Position)
		if err != nil {
			return nil, err
		}
		data = all[info.ID]
	}
	joined.AccountData = b.dataOf(info, data)
	if c.whole || max(activity.Last, activity.Receipts) > b.since.Position || activity.Counts > b.since.Serial {
		if err := b.unread(info, joined, c.whole || activity.Counts > b.since.Serial); err != nil {
			return nil, err
		}
	}
	if !c.whole && joined.empty() {
		return nil, nil
	}
	joined.StateAfter = b.stateAfter(joined.StateAfter)
	joined.State = b.stateBefore(joined.State)
	joined.Timeline = c.orNone(joined.Timeline)
	joined.Ephemeral, joined.AccountData = orNone(joined.Ephemeral), orNone(joined.AccountData)
	return joined, nil
}

// unread puts in what the user has not read in a room: with whatever else is
// new, and where it may have changed by itself.
func (b *build) unread(info *storage.RoomInfo, joined *JoinedRoom, changed bool) error {
	if b.Unread == nil {
		return nil
	}
	room, err := b.Unread.Counts(b.ctx, b.req.User, info.NID, b.snap.Position)
	if err != nil {
		return err
	}
	if !changed && room.Changed <= b.since.Position && joined.empty() {
		return nil
	}
	count := room.Total()
	if b.req.Filter.Room.Timeline.UnreadThreadNotifications {
		count = room.Main
		joined.UnreadThreads = room.Threads
	}
	joined.Unread = &count
	return nil
}

// dataOf is what the filter lets through of the account data for a room.
func (b *build) dataOf(info *storage.RoomInfo, data []json.RawMessage) *EventList {
	filter := &b.req.Filter.Room.AccountData
	if !filter.AllowsRoom(info.ID) {
		return nil
	}
	return eventList(wantedOf(&filter.EventFilter, data))
}

// Clients read the parts of a room without asking whether they are there: all
// of them are, be they empty.

func orNone(list *EventList) *EventList {
	if list == nil {
		return &EventList{[]json.RawMessage{}}
	}
	return list
}

func (c *change) orNone(t *Timeline) *Timeline {
	if t == nil {
		return &Timeline{Events: []json.RawMessage{}, PrevBatch: Token{Position: c.upTo}.String()}
	}
	return t
}

// stateBefore is the list, which is left out where state_after was asked for.
func (b *build) stateBefore(list *EventList) *EventList {
	if b.req.UseStateAfter {
		return list
	}
	return orNone(list)
}

// stateAfter is the list, empty rather than left out where it was asked for: by
// that, clients tell that the server knows it.
func (b *build) stateAfter(list *EventList) *EventList {
	if b.req.UseStateAfter {
		return orNone(list)
	}
	return list
}

// isNewcomer reports whether a client knows nothing of a room that its user is
// in: the user was not in it when the client asked last.
func (b *build) isNewcomer(at notifier.Room) (bool, error) {
	if b.initial {
		return true, nil
	}
	if at.Position <= b.since.Position {
		return false, nil
	}
	known, err := b.joinedAt(b.ctx, at.EventNID, b.since.Position)
	return !known, err
}

func (b *build) ephemeral(info *storage.RoomInfo, activity notifier.Activity, newcomer bool) (*EventList, error) {
	var events []json.RawMessage
	if newcomer || activity.Receipts > b.since.Position {
		var receipts json.RawMessage
		var err error
		if newcomer {
			receipts, err = b.AllReceipts(b.ctx, b.ahead, info, b.snap.Position, b.req.User)
		} else {
			receipts, err = b.Ephemeral.ReceiptsSince(b.ctx, info.ID, b.since.Position, b.snap.Position, b.req.User)
		}
		if err != nil {
			return nil, err
		}
		if receipts != nil {
			events = append(events, receipts)
		}
	}
	if activity.Serial > b.since.Serial {
		typing, err := b.Ephemeral.Typing(b.ctx, info.ID)
		if err != nil {
			return nil, err
		}
		// A room where nobody types is news only to whoever saw somebody type.
		if typing != nil && (!newcomer || !emptyTyping(typing)) {
			events = append(events, typing)
		}
	}
	if !b.req.Filter.Room.Ephemeral.AllowsRoom(info.ID) {
		return nil, nil
	}
	return eventList(wantedOf(&b.req.Filter.Room.Ephemeral.EventFilter, events)), nil
}

func emptyTyping(event json.RawMessage) bool {
	var e struct {
		Content struct {
			UserIDs []string `json:"user_ids"`
		} `json:"content"`
	}
	return json.Unmarshal(event, &e) == nil && len(e.Content.UserIDs) == 0
}

// leftRoom is what a user still sees of a room after leaving it.
func (b *build) leftRoom(info *storage.RoomInfo, at notifier.Room, data []json.RawMessage) (*LeftRoom, error) {
	whole := b.initial || b.req.FullState
	departure, err := b.Rooms.Departure(b.ctx, at.EventNID)
	if err != nil {
		return nil, err
	}
	if departure != nil && departure.Position > b.since.Position && !whole {
		// Whoever came and went since then knows nothing of the room either.
		known, err := b.joinedAt(b.ctx, at.EventNID, b.since.Position)
		if err != nil {
			return nil, err
		}
		whole = !known
	}
	c := &change{build: b, info: info, whole: whole, newcomer: whole, upTo: min(at.Position, b.snap.Position), left: departure}
	if err := c.load(notifier.Activity{Complete: math.MaxInt64}); err != nil {
		return nil, err
	}
	left := new(LeftRoom)
	if left.Timeline, err = c.timeline(); err != nil {
		return nil, err
	}
	// Whoever was only invited has seen nothing of the state, and whoever was
	// out already sees nothing new of it.
	if departure != nil && !at.Forgotten && (whole || departure.Position > b.since.Position) {
		if left.State, left.StateAfter, err = c.state(); err != nil {
			return nil, err
		}
	}
	left.StateAfter = b.stateAfter(left.StateAfter)
	left.State = b.stateBefore(left.State)
	left.Timeline = c.orNone(left.Timeline)
	left.AccountData = orNone(b.dataOf(info, data))
	return left, nil
}

// stripped is what somebody outside sees of a room that invites it or that it
// knocks at; nil where the user does not want the invite.
func (b *build) stripped(info *storage.RoomInfo, at notifier.Room) ([]json.RawMessage, error) {
	if at.Membership == "invite" {
		member, err := b.Store.Events.ByNID(b.ctx, at.EventNID)
		if err != nil {
			return nil, err
		}
		unwanted, err := b.unwantedNow()
		if err != nil || unwanted.Invite(member.Sender) != accounts.Welcome {
			return nil, err
		}
	}
	return b.Stripped(b.ctx, info, at)
}

// unwantedNow is whom the user does not want to hear from.
func (b *build) unwantedNow() (*accounts.Unwanted, error) {
	return b.Unwanted(b.ctx, b.req.User, b.snap)
}

// render puts events into the format that the filter asks for.
func (b *build) render(events []shown) ([]json.RawMessage, error) {
	federation := b.req.Filter.EventFormat == accounts.FederationFormat
	reader := rooms.Reader{User: b.req.User, Device: b.req.Device, NoRoomID: !federation, Federation: federation}
	fields, err := accounts.ParseFields(b.req.Filter.EventFields)
	if err != nil {
		return nil, err
	}
	return b.Service.render(b.ctx, b.ahead, events, reader, fields)
}
