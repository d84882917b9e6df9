package syncer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// An Overview is all that concerns a user at one moment (Client-Server API §
// GET /initialSync).
type Overview struct {
	End         string            `json:"end"`
	Presence    []json.RawMessage `json:"presence"`
	Rooms       []*RoomOverview   `json:"rooms"`
	AccountData []json.RawMessage `json:"account_data"`
}

// A RoomOverview is a room at that moment. Of an invite there is only the invite.
type RoomOverview struct {
	RoomID      matrix.RoomID     `json:"room_id"`
	Membership  string            `json:"membership,omitempty"`
	Invite      json.RawMessage   `json:"invite,omitempty"`
	Inviter     matrix.UserID     `json:"-"`
	Messages    *Page             `json:"messages,omitempty"`
	State       []json.RawMessage `json:"state,omitempty"`
	Visibility  string            `json:"visibility,omitempty"`
	AccountData []json.RawMessage `json:"account_data,omitempty"`
}

// An OverviewRequest asks for an Overview.
type OverviewRequest struct {
	User     matrix.UserID
	Device   matrix.DeviceID
	Limit    int  // messages of each room
	Archived bool // rooms that the user has left, too
}

// Overview is everything that a client needs to begin with.
func (s *Service) Overview(ctx context.Context, req OverviewRequest) (*Overview, error) {
	b, err := s.overviewBuild(ctx, rooms.Reader{User: req.User, Device: req.Device})
	if err != nil {
		return nil, err
	}
	defer s.Ephemeral.Seen(ctx, req.User, req.Device, "")()
	o := &Overview{End: b.now().String(), Presence: []json.RawMessage{}, Rooms: []*RoomOverview{}}
	if o.AccountData, err = s.AccountData.AccountDataSince(ctx, req.User, 0, b.snap.Position); err != nil {
		return nil, err
	}
	data, err := s.AccountData.RoomAccountDataSince(ctx, req.User, 0, b.snap.Position)
	if err != nil {
		return nil, err
	}
	present, err := s.Ephemeral.PresenceSince(ctx, req.User, 0)
	if err != nil {
		return nil, err
	}
	o.Presence = append(o.Presence, present...)
	for _, at := range b.inOrder(req.Archived) {
		room, err := b.overviewOf(at, req.Limit)
		if err != nil {
			return nil, err
		}
		if room != nil {
			room.AccountData = data[room.RoomID]
			o.Rooms = append(o.Rooms, room)
		}
	}
	return o, nil
}

func (s *Service) overviewBuild(ctx context.Context, reader rooms.Reader) (*build, error) {
	snap, err := s.Notifier.User(ctx, reader.User)
	if err != nil {
		return nil, err
	}
	req := Request{User: reader.User, Device: reader.Device, Filter: new(accounts.Filter)}
	return &build{Service: s, ctx: ctx, req: req, snap: snap, initial: true}, nil
}

// inOrder is the rooms of an overview, the oldest membership first.
func (b *build) inOrder(archived bool) []notifier.Room {
	var list []notifier.Room
	for _, at := range b.snap.Rooms {
		gone := at.Membership == "leave" || at.Membership == "ban"
		if at.Membership == "join" || at.Membership == "invite" || gone && archived && !at.Forgotten {
			list = append(list, at)
		}
	}
	slices.SortFunc(list, func(x, y notifier.Room) int { return cmp.Compare(x.Position, y.Position) })
	return list
}

// overviewOf is a room of the user, nil if the user sees nothing of it.
func (b *build) overviewOf(at notifier.Room, limit int) (*RoomOverview, error) {
	info, err := b.Store.Rooms.InfoOf(b.ctx, at.NID)
	if err != nil {
		return nil, err
	}
	if at.Membership == "invite" {
		return b.inviteOverview(info, at)
	}
	room, err := b.viewed(info.ID, limit)
	var refused *matrix.Error
	if errors.As(err, &refused) {
		return nil, nil // such as a room that refused the user's knock
	}
	return room, err
}

func (b *build) inviteOverview(info *storage.RoomInfo, at notifier.Room) (*RoomOverview, error) {
	member, err := b.Store.Events.ByNID(b.ctx, at.EventNID)
	if err != nil {
		return nil, err
	}
	if unwanted, err := b.unwantedNow(); err != nil || unwanted.Invite(member.Sender) != accounts.Welcome {
		return nil, err
	}
	room := &RoomOverview{RoomID: info.ID, Membership: "invite", Inviter: member.Sender}
	room.Invite, err = b.Rooms.Client(b.ctx, member, b.reader(), "invite")
	return room, err
}

func (b *build) reader() rooms.Reader { return rooms.Reader{User: b.req.User, Device: b.req.Device} }

// viewed is a room that the user may look at: its state and newest messages at
// the moment of the snapshot, or when the user left.
func (b *build) viewed(id matrix.RoomID, limit int) (*RoomOverview, error) {
	access, err := b.Rooms.Access(b.ctx, id, b.req.User)
	if err != nil {
		return nil, err
	}
	if access.UpTo > b.snap.Position {
		access.UpTo = b.snap.Position
		if access.State, err = b.Rooms.Before(b.ctx, access.Info, access.UpTo); err != nil {
			return nil, err
		}
	}
	room := &RoomOverview{RoomID: id, Visibility: "private"}
	switch access.Membership {
	case "join", "invite", "leave", "ban":
		room.Membership = access.Membership
	}
	listed, err := b.Rooms.Listed(b.ctx, id)
	if err != nil {
		return nil, err
	}
	if listed {
		room.Visibility = "public"
	}
	state, err := access.State.Events(b.ctx, nil)
	if err != nil {
		return nil, err
	}
	if room.State, err = b.Rooms.Clients(b.ctx, state, b.reader()); err != nil {
		return nil, err
	}
	room.Messages, err = b.newest(access, limit)
	return room, err
}

// newest is the newest messages of a room, oldest first.
func (b *build) newest(access *rooms.Access, limit int) (*Page, error) {
	w := walk{Service: b.Service, ctx: b.ctx, access: access, reader: b.reader(), filter: new(accounts.RoomEventFilter), place: access.UpTo, end: storage.Beginning}
	var err error
	if w.sight, err = b.Rooms.Sight(b.ctx, access.Info, b.req.User); err != nil {
		return nil, err
	}
	page := &Page{End: b.now().String(), Chunk: []json.RawMessage{}}
	if limit = min(max(limit, 0), maxTimeline); limit > 0 {
		found, _, err := w.collect(limit, true)
		if err != nil {
			return nil, err
		}
		slices.Reverse(found)
		if page.Chunk, err = w.render(found); err != nil {
			return nil, err
		}
	}
	page.Start = Token{Position: w.place}.String()
	return page, nil
}

// RoomOverview is one room, which the user need not be in (Client-Server API §
// GET /rooms/{roomId}/initialSync). M_FORBIDDEN for those who may not look at it.
func (s *Service) RoomOverview(ctx context.Context, reader rooms.Reader, id matrix.RoomID, limit int) (*RoomOverview, error) {
	b, err := s.overviewBuild(ctx, reader)
	if err != nil {
		return nil, err
	}
	room, err := b.viewed(id, limit)
	if err != nil {
		return nil, err
	}
	data, err := s.AccountData.RoomAccountDataSince(ctx, reader.User, 0, b.snap.Position)
	if err != nil {
		return nil, err
	}
	room.AccountData = data[id]
	return room, nil
}

// PresentIn is the presence of those who are in a room, as far as the reader
// sees it. M_FORBIDDEN for those who may not look at the room.
func (s *Service) PresentIn(ctx context.Context, reader matrix.UserID, id matrix.RoomID) ([]json.RawMessage, error) {
	access, err := s.Rooms.Access(ctx, id, reader)
	if err != nil {
		return nil, err
	}
	present, err := s.Ephemeral.PresenceSince(ctx, reader, 0)
	if err != nil {
		return nil, err
	}
	list := []json.RawMessage{}
	for _, event := range present {
		var e struct {
			Sender matrix.UserID `json:"sender"`
		}
		if err := json.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		membership, err := access.State.Membership(ctx, e.Sender)
		if err != nil {
			return nil, err
		}
		if membership == "join" {
			list = append(list, event)
		}
	}
	return list, nil
}
