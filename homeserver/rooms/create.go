package rooms

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// A CreateRequest is what a client may say about a new room (Client-Server
// API § POST /createRoom).
type CreateRequest struct {
	Creator         matrix.UserID
	AppService      string // that acts as the creator
	Preset          string
	Visibility      string // public or private; private if empty
	Name            string
	Topic           string
	AliasName       string // local part
	Version         string
	CreationContent map[string]json.RawMessage
	InitialState    []InitialState
	PowerLevels     map[string]json.RawMessage // power_level_content_override
	Invite          []matrix.UserID
	IsDirect        bool
	Timestamp       int64 // as in SendRequest
	// Offers, which may be nil, are the room's last events, once its ID is known.
	Offers func(ctx context.Context, room matrix.RoomID) ([]InitialState, error)
}

// InitialState is a state event that a new room begins with.
type InitialState struct {
	Type     string          `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

// A preset is a named choice of the first state.
type preset struct {
	joinRule, visibility, guests string
	trusted                      bool
}

var presets = map[string]preset{
	"private_chat":         {"invite", "shared", "can_join", false},
	"trusted_private_chat": {"invite", "shared", "can_join", true},
	"public_chat":          {"public", "shared", "forbidden", false},
}

// maxInitial bounds the events and invites of one createRoom.
const maxInitial = 1000

// Create makes a room, all of it or nothing. Errors: M_UNSUPPORTED_ROOM_VERSION,
// M_INVALID_ROOM_STATE, M_ROOM_IN_USE, M_EXCLUSIVE, M_INVALID_PARAM, M_INVITE_BLOCKED.
func (s *Service) Create(ctx context.Context, req CreateRequest) (matrix.RoomID, error) {
	c, err := s.plan(ctx, req)
	if err != nil {
		return "", err
	}
	if req.Timestamp == 0 {
		awaitMillisecond()
	}
	first, err := c.first(ctx)
	if err != nil {
		return "", err
	}
	defer s.making.Delete(first.RoomID)
	if err := c.askOffers(ctx, first.RoomID); err != nil {
		return "", err
	}
	nid, err := s.store.Rooms.NewNID(ctx)
	if err != nil {
		return "", err
	}
	info := &storage.RoomInfo{NID: nid, ID: first.RoomID, Version: c.version}
	r := newRoom(info, nil)
	r.pending.summary = storage.Summary{RoomID: info.ID, Version: c.version.ID, Creator: req.Creator, JoinRule: "invite"}
	d := &draft{ctx: ctx, s: s, room: r, head: r.pending}
	if _, err := d.accept(first, ""); err != nil {
		return "", err
	}
	for _, p := range c.proposals() {
		if _, err := d.add(p); err != nil {
			return "", invalidState(p, err)
		}
	}
	d.extra = c.extra(info)
	s.cache.add(r)
	b := &batch{done: make(chan struct{})}
	for _, st := range d.steps {
		b.events = append(b.events, st.event)
	}
	r.mu.Lock()
	r.pending = d.head
	r.mu.Unlock()
	d.ctx = context.WithoutCancel(ctx)
	s.store.DB.Enqueue(func(tx *database.Tx) error {
		if err := s.store.Rooms.Insert(d.ctx, tx, info, req.Creator); err != nil {
			return err
		}
		return d.write(tx)
	}, func(err error) { d.settle(b, err) })
	if _, err := b.wait(); err != nil {
		return "", err
	}
	for _, user := range c.abroad {
		err := s.Invite(ctx, MemberRequest{Room: info.ID, Sender: req.Creator, Target: user, IsDirect: req.IsDirect, AppService: req.AppService})
		if err != nil {
			// The room is there, and its creator sees who is not invited.
			s.Log.InfoContext(ctx, "somebody of another server could not be invited to a new room", "room", info.ID, "user", user, "error", err)
		}
	}
	return info.ID, nil
}

// awaitMillisecond waits for the next one, so that a room is from after the request for it: whoever notes the time and
// makes a room finds nothing of it at that time (Client-Server API § GET /timestamp_to_event).
func awaitMillisecond() {
	time.Sleep(time.Millisecond - time.Duration(time.Now().Nanosecond())%time.Millisecond)
}

// invalidState is the answer to a first state that the room's own rules refuse.
func invalidState(p proposal, err error) error {
	switch matrix.Code(err) {
	case "M_FORBIDDEN":
		return matrix.NewError(400, "M_INVALID_ROOM_STATE", "The state event %s does not fit the room that was asked for: %v", p.Type, err)
	}
	return err
}

// A creation is a room that is being planned.
type creation struct {
	s       *Service
	req     CreateRequest
	version *roomversion.Version
	preset  preset
	alias   matrix.RoomAlias
	member  json.RawMessage
	power   json.RawMessage
	invites []proposal      // and what comes after them
	abroad  []matrix.UserID // who is invited when the room is there
}

func (s *Service) plan(ctx context.Context, req CreateRequest) (*creation, error) {
	c := &creation{s: s, req: req}
	if req.Version == "" {
		req.Version = s.DefaultVersion
	}
	version, ok := roomversion.Lookup(req.Version)
	if !ok || !version.Supported() {
		return nil, matrix.UnsupportedRoomVersion(req.Version)
	}
	c.version = version
	if err := c.choosePreset(); err != nil {
		return nil, err
	}
	if len(req.InitialState) > maxInitial || len(req.Invite) > maxInitial {
		return nil, matrix.InvalidParam("A room begins with at most %d state events and invites.", maxInitial)
	}
	for _, st := range req.InitialState {
		if st.Type == "m.room.create" && st.StateKey == "" {
			return nil, matrix.NewError(400, "M_INVALID_ROOM_STATE", "A room is created once; creation_content says how.")
		}
	}
	for _, user := range req.Invite {
		if _, err := matrix.ParseUserID(string(user)); err != nil {
			return nil, matrix.InvalidParam("%v.", err)
		}
	}
	if err := c.chooseAlias(ctx); err != nil {
		return nil, err
	}
	var err error
	if c.power, err = c.powerLevels(); err != nil {
		return nil, err
	}
	members, err := s.memberContent(ctx, MemberRequest{Target: req.Creator}, "join")
	if err != nil {
		return nil, err
	}
	if c.member, err = json.Marshal(members); err != nil {
		return nil, err
	}
	return c, c.planInvites(ctx)
}

// planInvites prepares the invites; the creator, who is in, needs none.
func (c *creation) planInvites(ctx context.Context) error {
	planned := map[matrix.UserID]bool{c.req.Creator: true}
	for _, user := range c.req.Invite {
		if planned[user] {
			continue
		}
		planned[user] = true
		if c.s.abroad(user) {
			c.abroad = append(c.abroad, user)
			continue
		}
		if err := c.s.mayInvite(ctx, c.req.Creator, user, c.req.AppService); err != nil {
			return err
		}
		members, err := c.s.memberContent(ctx, MemberRequest{Target: user, IsDirect: c.req.IsDirect}, "invite")
		if err != nil {
			return err
		}
		content, err := json.Marshal(members)
		if err != nil {
			return err
		}
		c.invites = append(c.invites, c.state("m.room.member", string(user), content))
	}
	return nil
}

func (c *creation) askOffers(ctx context.Context, room matrix.RoomID) error {
	if c.req.Offers == nil {
		return nil
	}
	offers, err := c.req.Offers(ctx, room)
	for _, st := range offers {
		c.invites = append(c.invites, c.state(st.Type, st.StateKey, st.Content))
	}
	return err
}

func (c *creation) choosePreset() error {
	name := c.req.Preset
	switch c.req.Visibility {
	case "public":
		if name == "" {
			name = "public_chat"
		}
	case "", "private":
		if name == "" {
			name = "private_chat"
		}
	default:
		return matrix.InvalidParam("visibility has to be public or private.")
	}
	chosen, ok := presets[name]
	if !ok {
		return matrix.InvalidParam("preset has to be private_chat, trusted_private_chat or public_chat.")
	}
	c.preset = chosen
	return nil
}

func (c *creation) chooseAlias(ctx context.Context) error {
	if c.req.AliasName == "" {
		return nil
	}
	if strings.ContainsAny(c.req.AliasName, ":\x00") {
		return matrix.InvalidParam("room_alias_name is the part of the alias before the colon.")
	}
	alias, err := matrix.ParseRoomAlias(string(matrix.NewRoomAlias(c.req.AliasName, c.s.ServerName)))
	if err != nil {
		return matrix.InvalidParam("%v.", err)
	}
	if err := c.s.mayMakeAlias(c.req.AppService, alias); err != nil {
		return err
	}
	if taken, err := c.s.AliasExists(ctx, alias); err != nil {
		return err
	} else if taken {
		return matrix.RoomInUse("Room alias %s exists already.", alias)
	}
	c.alias = alias
	return nil
}

// extra stores the alias and the listing together with the room.
func (c *creation) extra(info *storage.RoomInfo) func(context.Context, *database.Tx) error {
	return func(ctx context.Context, tx *database.Tx) error {
		if c.alias != "" {
			inserted, err := c.s.store.Aliases.Insert(ctx, tx, c.alias, info.NID, c.req.Creator)
			if err != nil {
				return err
			}
			if !inserted {
				return matrix.RoomInUse("Room alias %s exists already.", c.alias)
			}
		}
		if c.req.Visibility == "public" {
			return c.s.store.Published.Set(ctx, tx, info.NID, "", true)
		}
		return nil
	}
}
