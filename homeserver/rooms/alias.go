package rooms

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Resolve is the room that an alias points to, asking whoever may make it;
// M_NOT_FOUND if nobody does. asker is the application service that wants to
// know, or empty.
func (s *Service) Resolve(ctx context.Context, alias matrix.RoomAlias, asker string) (*storage.Alias, error) {
	gone := matrix.NotFound("Room alias %s does not exist.", alias)
	if alias.Server() != s.ServerName {
		return nil, gone
	}
	found, err := s.store.Aliases.Lookup(ctx, alias)
	if found != nil || err != nil {
		return found, err
	}
	made, err := s.Directory.QueryAlias(ctx, alias, asker)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, gone
	}
	// Whatever was answered, the table decides.
	if found, err = s.store.Aliases.Lookup(ctx, alias); found == nil && err == nil {
		return nil, gone
	}
	return found, err
}

// AliasExists reports whether the table has an alias.
func (s *Service) AliasExists(ctx context.Context, alias matrix.RoomAlias) (bool, error) {
	found, err := s.store.Aliases.Lookup(ctx, alias)
	return found != nil, err
}

// CreateAlias points an alias at a room, for who is in it, application services
// and administrators. Errors: M_INVALID_PARAM, M_EXCLUSIVE, M_NOT_FOUND for the
// room, M_FORBIDDEN, M_UNKNOWN (409) if it exists.
func (s *Service) CreateAlias(ctx context.Context, who Actor, alias matrix.RoomAlias, room matrix.RoomID) error {
	if alias.Server() != s.ServerName {
		return matrix.InvalidParam("Aliases are made on their own server, and this one is %s.", s.ServerName)
	}
	if err := s.mayMakeAlias(who.AppService, alias); err != nil {
		return err
	}
	info, err := s.Info(ctx, room)
	if err != nil {
		return err
	}
	if who.AppService == "" && !who.Admin {
		if joined, err := s.Joined(ctx, room, who.User); err != nil {
			return err
		} else if !joined {
			return matrix.Forbidden("Only who is in a room gives it an alias.")
		}
	}
	var inserted bool
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		var err error
		inserted, err = s.store.Aliases.Insert(ctx, tx, alias, info.NID, who.User)
		return err
	})
	if err == nil && !inserted {
		return matrix.NewError(409, "M_UNKNOWN", "Room alias %s exists already.", alias)
	}
	if err == nil {
		s.Directory.AliasesChanged(room)
	}
	return err
}

// mayMakeAlias is M_EXCLUSIVE for what belongs to others, and
// M_FAILED_HUMAN_ID_CHECK for what looks as if it did.
func (s *Service) mayMakeAlias(appservice string, alias matrix.RoomAlias) error {
	if s.HumanIDs && appservice == "" && matrix.Confusing(alias.Localpart()) {
		return matrix.FailedHumanIDCheck()
	}
	return s.Directory.MayUseAlias(appservice, alias)
}

// DeleteAlias removes an alias; its maker may, and whoever may set the room's
// canonical alias. The room's m.room.canonical_alias loses it too.
func (s *Service) DeleteAlias(ctx context.Context, who Actor, alias matrix.RoomAlias) error {
	if err := s.Directory.MayUseAlias(who.AppService, alias); err != nil {
		return err
	}
	found, err := s.store.Aliases.Lookup(ctx, alias)
	if err != nil {
		return err
	}
	if found == nil {
		return matrix.NotFound("Room alias %s does not exist.", alias)
	}
	info, err := s.store.Rooms.InfoOf(ctx, found.RoomNID)
	if err != nil {
		return err
	}
	power, err := s.PowerLevels(ctx, info)
	if err != nil {
		return err
	}
	steward := power.User(who.User) >= power.Event("m.room.canonical_alias", true)
	if joined, err := s.Joined(ctx, info.ID, who.User); err != nil {
		return err
	} else if found.Creator != who.User && !(steward && joined) && !who.Admin {
		return matrix.Forbidden("This alias is not yours to delete.")
	}
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error { return s.store.Aliases.Delete(ctx, tx, alias) })
	if err != nil {
		return err
	}
	s.Directory.AliasesChanged(info.ID)
	if !steward {
		return nil
	}
	return s.retractAlias(ctx, info, who.User, alias)
}

// retractAlias takes a deleted alias out of the room's canonical aliases.
func (s *Service) retractAlias(ctx context.Context, info *storage.RoomInfo, user matrix.UserID, alias matrix.RoomAlias) error {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return err
	}
	e, err := now.Event(ctx, "m.room.canonical_alias", "")
	if err != nil || e == nil {
		return err
	}
	names := canonicalNames(e.Content)
	changed := names.Alias == alias
	if changed {
		names.Alias = ""
	}
	var kept []matrix.RoomAlias
	for _, alt := range names.Alt {
		if alt == alias {
			changed = true
		} else {
			kept = append(kept, alt)
		}
	}
	if !changed {
		return nil
	}
	names.Alt = kept
	content, err := json.Marshal(names)
	if err != nil {
		return err
	}
	err = s.commit(ctx, info, SendRequest{Sender: user, Type: "m.room.canonical_alias", StateKey: new(string), Content: content})
	var refused *matrix.Error
	if errors.As(err, &refused) {
		return nil // the alias is gone; that the room still names it is the room's affair
	}
	return err
}

// Aliases is a room's local aliases, for members, where everybody may read, and for administrators.
func (s *Service) Aliases(ctx context.Context, id matrix.RoomID, who Actor) ([]matrix.RoomAlias, error) {
	if who.Admin {
		info, err := s.known(ctx, id)
		if err != nil {
			return nil, err
		}
		return s.LocalAliases(ctx, info.NID)
	}
	access, err := s.Access(ctx, id, who.User)
	if err != nil {
		return nil, err
	}
	if access.Membership != "join" && !access.State.Summary.WorldReadable {
		return nil, notMember(id)
	}
	return s.LocalAliases(ctx, access.Info.NID)
}

// LocalAliases is a room's aliases on this server.
func (s *Service) LocalAliases(ctx context.Context, nid int64) ([]matrix.RoomAlias, error) {
	stored, err := s.store.Aliases.OfRoom(ctx, nid)
	if err != nil {
		return nil, err
	}
	list := make([]matrix.RoomAlias, len(stored))
	for i, a := range stored {
		list[i] = a.Alias
	}
	return list, nil
}

type aliasNames struct {
	Alias matrix.RoomAlias   `json:"alias,omitempty"`
	Alt   []matrix.RoomAlias `json:"alt_aliases,omitempty"`
}

func canonicalNames(content json.RawMessage) (names aliasNames) {
	// A content that is no such object names nothing.
	_ = json.Unmarshal(content, &names)
	return names
}

// checkCanonicalAlias refuses aliases that are new in the event and don't point
// to the room (Client-Server API § m.room.canonical_alias).
func (s *Service) checkCanonicalAlias(ctx context.Context, info *storage.RoomInfo, req SendRequest) error {
	var names aliasNames
	if err := json.Unmarshal(req.Content, &names); err != nil {
		return matrix.BadJSON("alias has to be a text, alt_aliases a list of them.")
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return err
	}
	before, err := now.Event(ctx, "m.room.canonical_alias", "")
	if err != nil {
		return err
	}
	named := map[matrix.RoomAlias]bool{"": true}
	if before != nil {
		old := canonicalNames(before.Content)
		named[old.Alias] = true
		for _, alt := range old.Alt {
			named[alt] = true
		}
	}
	for _, alias := range append(names.Alt, names.Alias) {
		if named[alias] {
			continue
		}
		if _, err := matrix.ParseRoomAlias(string(alias)); err != nil {
			return matrix.InvalidParam("%v.", err)
		}
		found, err := s.store.Aliases.Lookup(ctx, alias)
		if err != nil {
			return err
		}
		if found == nil || found.RoomNID != info.NID {
			return matrix.NewError(400, "M_BAD_ALIAS", "Room alias %s does not point to this room.", alias)
		}
	}
	return nil
}
