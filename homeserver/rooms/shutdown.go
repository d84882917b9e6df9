package rooms

import (
	"context"
	"encoding/json"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
)

// farewell is how long clients have to see that they are out.
const farewell = 2 * time.Second

// shutDown takes all local users out of a room, and elsewhere if wanted.
func (s *Service) shutDown(ctx context.Context, info *storage.RoomInfo, detail *DeletionDetail) error {
	req := detail.Room
	if req.NewUser != "" && detail.NewRoom == "" {
		if err := s.makeSuccessor(ctx, detail); err != nil {
			return err
		}
	}
	members, err := s.store.Members.OfRoom(ctx, info.NID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if !s.Local(m.User) {
			continue
		}
		if _, err := s.setMembership(ctx, MemberRequest{Room: info.ID, Sender: m.User, Target: m.User}, "leave", nil); err != nil {
			if ctx.Err() != nil {
				return err
			}
			detail.Failed = append(detail.Failed, m.User)
			continue
		}
		detail.Kicked = append(detail.Kicked, m.User)
		if detail.NewRoom != "" && m.Membership == "join" {
			if _, err := s.Join(ctx, string(detail.NewRoom), MemberRequest{Sender: m.User}); err != nil {
				s.Log.InfoContext(ctx, "a member could not be taken along", "user", m.User, "err", err)
			}
		}
	}
	if err := s.moveAliases(ctx, info, detail); err != nil {
		return err
	}
	if len(detail.Kicked) > 0 && req.Purge {
		select {
		case <-time.After(farewell):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.forgetAll(ctx, info, detail)
}

// makeSuccessor makes the room where the members go, and where they can only read.
func (s *Service) makeSuccessor(ctx context.Context, detail *DeletionDetail) error {
	req := detail.Room
	name := req.NewName
	if name == "" {
		name = "Content Violation Notification"
	}
	id, err := s.Create(ctx, CreateRequest{
		Creator: req.NewUser, Preset: "public_chat", Name: name,
		PowerLevels: map[string]json.RawMessage{"users_default": json.RawMessage("-10")},
	})
	if err != nil {
		return err
	}
	detail.NewRoom = id
	message := req.Message
	if message == "" {
		message = "Sharing illegal content on this server is not permitted and rooms in violation will be blocked."
	}
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": message})
	if err != nil {
		return err
	}
	_, err = s.Send(ctx, SendRequest{Room: id, Sender: req.NewUser, Type: "m.room.message", Content: content})
	return err
}

// moveAliases lets the successor, or nobody, have the room's aliases.
func (s *Service) moveAliases(ctx context.Context, info *storage.RoomInfo, detail *DeletionDetail) error {
	aliases, err := s.store.Aliases.OfRoom(ctx, info.NID)
	if err != nil {
		return err
	}
	var successor *storage.RoomInfo
	if detail.NewRoom != "" {
		if successor, err = s.Info(ctx, detail.NewRoom); err != nil {
			return err
		}
	}
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		for _, a := range aliases {
			if err := s.store.Aliases.Delete(ctx, tx, a.Alias); err != nil {
				return err
			}
			if successor == nil {
				continue
			}
			if _, err := s.store.Aliases.Insert(ctx, tx, a.Alias, successor.NID, detail.Room.NewUser); err != nil {
				return err
			}
		}
		return s.store.Published.Set(ctx, tx, info.NID, "", false)
	})
	for _, a := range aliases {
		detail.Aliases = append(detail.Aliases, a.Alias)
	}
	if s.Directory != nil && len(aliases) > 0 {
		s.Directory.AliasesChanged(info.ID)
	}
	return err
}

// forgetAll hides the room from those who were in it.
func (s *Service) forgetAll(ctx context.Context, info *storage.RoomInfo, detail *DeletionDetail) error {
	for _, user := range detail.Kicked {
		if err := s.forget(ctx, info, user); err != nil {
			return err
		}
		if s.Forgotten != nil {
			s.Forgotten(user, info.NID)
		}
	}
	return nil
}
