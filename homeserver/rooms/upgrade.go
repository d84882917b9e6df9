package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
)

// Settings are what users have said for themselves.
type Settings interface {
	// InviteBlocked reports whether a user refuses to be invited by somebody.
	InviteBlocked(ctx context.Context, user, by matrix.UserID) (bool, error)
	// Carry gives the new room what the user has said about the old one.
	Carry(ctx context.Context, user matrix.UserID, old, new matrix.RoomID) error
}

// noSettings is of users who have said nothing.
type noSettings struct{}

func (noSettings) InviteBlocked(context.Context, matrix.UserID, matrix.UserID) (bool, error) {
	return false, nil
}

func (noSettings) Carry(context.Context, matrix.UserID, matrix.RoomID, matrix.RoomID) error {
	return nil
}

// An UpgradeRequest replaces a room by one of another version.
type UpgradeRequest struct {
	Who                Actor
	Room               matrix.RoomID
	Version            string
	AdditionalCreators []matrix.UserID // where the version knows them
}

// carried are the state events that a new room takes over, in this order. Power
// levels come last: before, the upgrader has those of a creator.
var carried = []string{
	"m.room.server_acl", "m.room.encryption", "m.room.name", "m.room.avatar", "m.room.topic",
	"m.room.guest_access", "m.room.history_visibility", "m.room.join_rules",
}

// Upgrade makes a room that takes the place of another one, and leads people
// there (Client-Server API § Room Upgrades). Errors: M_UNSUPPORTED_ROOM_VERSION,
// M_FORBIDDEN for those who may not send a tombstone.
func (s *Service) Upgrade(ctx context.Context, req UpgradeRequest) (matrix.RoomID, error) {
	version, ok := roomversion.Lookup(req.Version)
	if !ok || !version.Supported() {
		return "", matrix.UnsupportedRoomVersion(req.Version)
	}
	info, err := s.known(ctx, req.Room)
	if err != nil {
		return "", err
	}
	if err := s.mayReplace(ctx, info, req.Who.User); err != nil {
		return "", err
	}
	old, err := s.Head(ctx, info.NID)
	if err != nil {
		return "", err
	}
	create, err := s.replacement(ctx, old, version, req)
	if err != nil {
		return "", err
	}
	listed, err := s.store.Published.Listed(ctx, info.NID)
	if err != nil {
		return "", err
	}
	if listed {
		create.Visibility = "public"
	}
	id, err := s.Create(ctx, *create)
	if err != nil {
		return "", err
	}
	return id, s.leadTo(ctx, info, old, id, req.Who)
}

// mayReplace is M_FORBIDDEN for whoever may not send a tombstone.
func (s *Service) mayReplace(ctx context.Context, info *storage.RoomInfo, user matrix.UserID) error {
	joined, err := s.Joined(ctx, info.ID, user)
	if err != nil {
		return err
	}
	if !joined {
		return notMember(info.ID)
	}
	power, err := s.PowerLevels(ctx, info)
	if err != nil {
		return err
	}
	if power.User(user) < power.Event("m.room.tombstone", true) {
		return matrix.Forbidden("You may not replace this room: that takes the power level for m.room.tombstone.")
	}
	return nil
}

// replacement is the room that will take the place of the one in that state.
func (s *Service) replacement(ctx context.Context, old *Snapshot, version *roomversion.Version, req UpgradeRequest) (*CreateRequest, error) {
	first, err := old.Event(ctx, "m.room.create", "")
	if err != nil {
		return nil, err
	}
	last, err := s.newest(ctx, old.info, old.Position)
	if err != nil {
		return nil, err
	}
	create := &CreateRequest{Creator: req.Who.User, AppService: req.Who.AppService, Version: version.ID, Preset: "private_chat"}
	content, err := contentOf(first)
	if err != nil {
		return nil, err
	}
	create.CreationContent = map[string]json.RawMessage{}
	for _, name := range []string{"type", "m.federate"} {
		if value, ok := content[name]; ok {
			create.CreationContent[name] = value
		}
	}
	more := map[string]any{"predecessor": map[string]string{"room_id": string(old.info.ID), "event_id": string(last.ID)}}
	if version.PrivilegedCreators && len(req.AdditionalCreators) > 0 {
		more["additional_creators"] = req.AdditionalCreators
	}
	for name, value := range more {
		if create.CreationContent[name], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	if create.InitialState, err = s.carriedState(ctx, old, field(first.Event, "type") == "m.space"); err != nil {
		return nil, err
	}
	levels, takes, err := s.carriedPower(ctx, old, first, version, req)
	if err != nil || levels == nil {
		return create, err
	}
	if !version.PrivilegedCreators {
		upgrader, err := json.Marshal(map[matrix.UserID]int64{req.Who.User: takes})
		if err != nil {
			return nil, err
		}
		create.PowerLevels = map[string]json.RawMessage{"users": upgrader}
	}
	create.InitialState = append(create.InitialState, InitialState{Type: "m.room.power_levels", Content: levels})
	return create, nil
}

// carriedState is what the new room begins with beside its power levels: the
// carried events, who is banned, and a space's children.
func (s *Service) carriedState(ctx context.Context, old *Snapshot, space bool) ([]InitialState, error) {
	var list []InitialState
	for _, typ := range carried {
		e, err := old.Event(ctx, typ, "")
		if err != nil {
			return nil, err
		}
		if e != nil {
			list = append(list, InitialState{Type: typ, Content: e.Content})
		}
	}
	further, err := old.Events(ctx, func(key storage.StateKey) bool {
		return key.Type == "m.room.member" || space && key.Type == "m.space.child"
	})
	if err != nil {
		return nil, err
	}
	for _, e := range further {
		if e.Type == "m.room.member" && e.Membership() != "ban" || len(list) >= maxInitial-1 {
			continue
		}
		list = append(list, InitialState{Type: e.Type, StateKey: *e.StateKey, Content: e.Content})
	}
	return list, nil
}

// carriedPower is the old power levels as the new version can have them: where
// creators stand above all levels they are not listed, and where they don't,
// the old room's get the highest. Nobody can give more than they have: until
// then, the upgrader has the level that it takes, also returned.
func (s *Service) carriedPower(ctx context.Context, old *Snapshot, first *storage.Event, version *roomversion.Version, req UpgradeRequest) (levels json.RawMessage, takes int64, err error) {
	e, err := old.Event(ctx, "m.room.power_levels", "")
	if err != nil || e == nil {
		return nil, 0, err
	}
	content, err := contentOf(e)
	if err != nil {
		return nil, 0, err
	}
	users, events := levelTable[matrix.UserID](content["users"]), levelTable[string](content["events"])
	more := integerLevels(content)
	switch {
	case version.PrivilegedCreators:
		delete(users, req.Who.User)
		for _, user := range req.AdditionalCreators {
			delete(users, user)
		}
		events["m.room.tombstone"] = max(events["m.room.tombstone"], 150)
	case old.info.Version.PrivilegedCreators:
		for typ, level := range events {
			events[typ] = min(level, 100)
		}
	}
	more["users"], more["events"] = users, events
	takes = highestLevel(more)
	if old.info.Version.PrivilegedCreators && !version.PrivilegedCreators {
		for _, user := range eventauth.Creators(first.Event) {
			users[user] = takes
		}
	}
	levels, err = merge(content, more)
	return levels, takes, err
}

// leadTo moves aliases, listing and people's settings to the new room and
// closes the old one. The new room is there: what the old one's rules refuse
// now is left as it is.
func (s *Service) leadTo(ctx context.Context, info *storage.RoomInfo, old *Snapshot, id matrix.RoomID, who Actor) error {
	next, err := s.Info(ctx, id)
	if err != nil {
		return err
	}
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.store.Aliases.Move(ctx, tx, info.NID, next.NID); err != nil {
			return err
		}
		return s.store.Published.Set(ctx, tx, info.NID, "", false)
	})
	if err != nil {
		return err
	}
	s.Directory.AliasesChanged(info.ID)
	s.Directory.AliasesChanged(id)
	if err := s.moveCanonicalAlias(ctx, info, old, next, who); err != nil {
		return err
	}
	tombstone, err := json.Marshal(map[string]string{"body": "This room has been replaced.", "replacement_room": string(id)})
	if err != nil {
		return err
	}
	if err := s.set(ctx, info, who, "m.room.tombstone", tombstone); err != nil {
		return err
	}
	if err := s.quieten(ctx, info, old, who); err != nil {
		return err
	}
	return s.Settings.Carry(ctx, who.User, info.ID, id)
}

// checkTombstone refuses a room that takes its own place: whoever follows would
// never arrive.
func checkTombstone(info *storage.RoomInfo, req SendRequest) error {
	var content struct {
		Replacement matrix.RoomID `json:"replacement_room"`
	}
	if json.Unmarshal(req.Content, &content) == nil && content.Replacement == info.ID {
		return matrix.InvalidParam("A room cannot be replaced by itself.")
	}
	return nil
}

// set sends a state event; that the room refuses it is no error.
func (s *Service) set(ctx context.Context, info *storage.RoomInfo, who Actor, typ string, content json.RawMessage) error {
	err := s.commit(ctx, info, SendRequest{Sender: who.User, Type: typ, StateKey: new(string), Content: content})
	if matrix.Code(err) != "" {
		return nil
	}
	return err
}

func (s *Service) moveCanonicalAlias(ctx context.Context, info *storage.RoomInfo, old *Snapshot, next *storage.RoomInfo, who Actor) error {
	e, err := old.Event(ctx, "m.room.canonical_alias", "")
	if err != nil || e == nil {
		return err
	}
	names := canonicalNames(e.Content)
	names.Alt = slices.DeleteFunc(names.Alt, func(alias matrix.RoomAlias) bool { return alias.Server() != s.ServerName })
	if names.Alias != "" && names.Alias.Server() != s.ServerName {
		names.Alias = "" // it still leads to the old room
	}
	content, err := json.Marshal(names)
	if err != nil {
		return err
	}
	if err := s.set(ctx, next, who, "m.room.canonical_alias", content); err != nil {
		return err
	}
	return s.set(ctx, info, who, "m.room.canonical_alias", json.RawMessage("{}"))
}

// quieten raises what it takes to speak in the old room and to invite there.
func (s *Service) quieten(ctx context.Context, info *storage.RoomInfo, old *Snapshot, who Actor) error {
	e, err := old.Event(ctx, "m.room.power_levels", "")
	if err != nil || e == nil {
		return err
	}
	content, err := contentOf(e)
	if err != nil {
		return err
	}
	var usual, events, invite int64
	_ = json.Unmarshal(content["users_default"], &usual)
	_ = json.Unmarshal(content["events_default"], &events)
	_ = json.Unmarshal(content["invite"], &invite)
	closed := max(50, usual+1)
	raised, err := merge(content, map[string]any{"events_default": max(events, closed), "invite": max(invite, closed)})
	if err != nil {
		return err
	}
	return s.set(ctx, info, who, "m.room.power_levels", raised)
}

// follow carries the settings of a user who has just come into a room that
// took the place of another one.
func (s *Service) follow(ctx context.Context, info *storage.RoomInfo, user matrix.UserID) error {
	if !s.Local(user) {
		return nil
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return err
	}
	id, err := now.predecessor(ctx)
	if id == "" || err != nil {
		return err
	}
	// Only a room that leads here hands over.
	old, err := s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	was, err := s.Head(ctx, old.NID)
	if err != nil {
		return err
	}
	tombstone, err := was.Event(ctx, "m.room.tombstone", "")
	if err != nil || tombstone == nil || field(tombstone.Event, "replacement_room") != string(info.ID) {
		return err
	}
	return s.Settings.Carry(ctx, user, old.ID, info.ID)
}

// replaced carries the settings of those who are in the new room already when
// a tombstone leads there.
func (s *Service) replaced(ctx context.Context, info *storage.RoomInfo, tombstone json.RawMessage) error {
	var content struct {
		Replacement matrix.RoomID `json:"replacement_room"`
	}
	if json.Unmarshal(tombstone, &content) != nil {
		return nil
	}
	next, err := s.store.Rooms.Info(ctx, content.Replacement)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := s.Head(ctx, next.NID)
	if err != nil {
		return err
	}
	if id, err := now.predecessor(ctx); id != info.ID || err != nil {
		return err
	}
	members, err := s.store.Members.OfRoom(ctx, next.NID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Membership == "join" && s.Local(m.User) {
			if err := s.Settings.Carry(ctx, m.User, info.ID, next.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// predecessor is the room whose place this one took, or empty.
func (n *Snapshot) predecessor(ctx context.Context) (matrix.RoomID, error) {
	first, err := n.Event(ctx, "m.room.create", "")
	if err != nil || first == nil {
		return "", err
	}
	var content struct {
		Predecessor struct {
			RoomID matrix.RoomID `json:"room_id"`
		} `json:"predecessor"`
	}
	_ = json.Unmarshal(first.Content, &content) // what is no such object has none
	return content.Predecessor.RoomID, nil
}

// contentOf is an event's content, member by member.
func contentOf(e *storage.Event) (map[string]json.RawMessage, error) {
	content := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.Content, &content); err != nil {
		return nil, fmt.Errorf("content of %s: %w", e.ID, err)
	}
	return content, nil
}
