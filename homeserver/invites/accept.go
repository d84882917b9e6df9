package invites

import (
	"context"
	"encoding/json"

	"trestle/homeserver/identity"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// signed is what an identity server gives to who accepts an invite: the
// members that it has signed, and the signatures.
type signed struct {
	Sender     matrix.UserID                `json:"sender"`
	User       matrix.UserID                `json:"mxid"`
	Token      string                       `json:"token"`
	Signatures map[string]map[string]string `json:"signatures"`
}

// maxSigned bounds third_party_signed, in bytes.
const maxSigned = 16 << 10

// Join takes the sender into a room by an invite to an address of theirs:
// proof is third_party_signed. Errors: M_FORBIDDEN if it proves nothing, and
// those of rooms.Join.
func (s *Service) Join(ctx context.Context, idOrAlias string, req rooms.MemberRequest, proof json.RawMessage) (matrix.RoomID, error) {
	var claim signed
	if len(proof) > maxSigned || json.Unmarshal(proof, &claim) != nil || claim.Token == "" {
		return "", matrix.BadJSON("third_party_signed has sender, mxid, token and signatures.")
	}
	room, err := s.options.Rooms.Find(ctx, idOrAlias, req.AppService)
	if err != nil {
		return "", err
	}
	membership, err := s.options.Rooms.Membership(ctx, room, req.Sender)
	if err != nil {
		return "", err
	}
	if membership != "join" && membership != "invite" {
		if err := s.redeem(ctx, room, req.Sender, claim, proof); err != nil {
			return "", err
		}
	}
	return s.options.Rooms.Join(ctx, string(room), req)
}

// redeem invites a user by an invite to an address.
func (s *Service) redeem(ctx context.Context, room matrix.RoomID, user matrix.UserID, claim signed, proof json.RawMessage) error {
	if claim.User != user {
		return matrix.Forbidden("The proof is that of %.255s.", claim.User)
	}
	if !s.options.Rooms.Local(claim.Sender) {
		return matrix.Forbidden("Who has sent the invite is not of this server.")
	}
	invite, err := s.options.Rooms.ThirdPartyInvite(ctx, room, claim.Token)
	if err != nil {
		return err
	}
	if invite == nil || invite.Sender != claim.Sender {
		return matrix.Forbidden("There is no such invite, or not any more.")
	}
	var content offerContent
	if json.Unmarshal(invite.Content, &content) != nil {
		return matrix.Forbidden("The invite is malformed.")
	}
	if err := s.verify(ctx, content, claim, proof); err != nil {
		return err
	}
	member, err := json.Marshal(map[string]any{"display_name": content.DisplayName, "signed": proof})
	if err != nil {
		return err
	}
	if err := s.options.Rooms.Redeem(ctx, room, claim.Sender, user, member); err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Invites.Delete(ctx, tx, invite.RoomNID, claim.Token)
	})
}

// maxAttempts bounds the signatures that are tried.
const maxAttempts = 50

// verify wants a signature by a key of the invite that is still valid.
func (s *Service) verify(ctx context.Context, content offerContent, claim signed, proof json.RawMessage) error {
	keys := append([]identity.PublicKey{{Key: content.PublicKey, ValidityURL: content.ValidityURL}}, content.PublicKeys...)
	refusal := error(matrix.Forbidden("The proof is not signed by a key of the invite."))
	attempts := 0
	for _, key := range keys {
		public := key.Public()
		for server, byKey := range claim.Signatures {
			for id := range byKey {
				if attempts++; attempts > maxAttempts {
					return refusal
				}
				if public == nil || matrix.VerifyJSON(proof, matrix.ServerName(server), matrix.KeyID(id), public) != nil {
					continue
				}
				if refusal = s.valid(ctx, key); refusal == nil {
					return nil
				}
			}
		}
	}
	return refusal
}

func (s *Service) valid(ctx context.Context, key identity.PublicKey) error {
	if key.ValidityURL == "" {
		return nil
	}
	if s.options.Identity == nil {
		return matrix.Forbidden("This server does not trust the identity server that has signed.")
	}
	valid, err := s.options.Identity.KeyValid(ctx, key)
	if err == nil && !valid {
		err = matrix.Forbidden("The key of the invite is not valid any more.")
	}
	return err
}

// Bound invites a user who has proved to an identity server that an address is
// theirs into the rooms where somebody here has invited that address. What the
// rooms' rules refuse now is dropped.
func (s *Service) Bound(ctx context.Context, user matrix.UserID, b storage.Binding) error {
	waiting, err := s.options.Invites.To(ctx, b)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		err := s.deliver(ctx, user, w)
		if err != nil && matrix.Code(err) == "" {
			return err
		}
		if err != nil {
			s.options.Log.InfoContext(ctx, "an invite by address is not delivered", "room", w.RoomID, "to", user, "err", err)
		}
		err = s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.options.Invites.Delete(ctx, tx, w.RoomNID, w.Token) })
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver invites the user in the name of who has invited the address, and
// takes that invite back. One that was taken back before is none.
func (s *Service) deliver(ctx context.Context, user matrix.UserID, w storage.ThreePIDInvite) error {
	offer, err := s.options.Rooms.ThirdPartyInvite(ctx, w.RoomID, w.Token)
	if err != nil || offer == nil || offer.Sender != w.Sender {
		return err
	}
	membership, err := s.options.Rooms.Membership(ctx, w.RoomID, user)
	if err != nil {
		return err
	}
	if membership != "join" && membership != "invite" {
		if err := s.options.Rooms.Invite(ctx, rooms.MemberRequest{Room: w.RoomID, Sender: w.Sender, Target: user}); err != nil {
			return err
		}
	}
	_, err = s.options.Rooms.Send(ctx, rooms.SendRequest{
		Room: w.RoomID, Sender: w.Sender, Type: "m.room.third_party_invite", StateKey: &w.Token, Content: json.RawMessage(`{}`),
	})
	return err
}
