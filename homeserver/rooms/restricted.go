package rooms

import (
	"context"
	"encoding/json"

	"trestle/internal/matrix"
)

// authorise keeps guests out of where they may not be, and names who vouches
// for a restricted join, in a member event that came as plain state.
func (d *draft) authorise(req *SendRequest) error {
	if req.Type != "m.room.member" || *req.StateKey != string(req.Sender) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(req.Content, &members); err != nil {
		return matrix.BadJSON("The content has to be an object.")
	}
	var membership string
	if json.Unmarshal(members["membership"], &membership) != nil || membership != "join" {
		return nil
	}
	was, err := d.membership(req.Sender)
	if err != nil {
		return err
	}
	// Vouching is for the way in, and for this server to name: what clients say of it does not count.
	if _, said := members["join_authorised_via_users_server"]; said {
		delete(members, "join_authorised_via_users_server")
		if req.Content, err = json.Marshal(members); err != nil {
			return err
		}
	}
	if was == "join" {
		return nil
	}
	if req.Guest {
		if err := d.admitsGuests(); err != nil {
			return err
		}
	}
	if was == "invite" {
		return nil
	}
	voucher, err := d.voucher(req.Sender)
	if err != nil || voucher == "" {
		return err
	}
	req.Content, err = merge(members, map[string]any{"join_authorised_via_users_server": voucher})
	return err
}

// checkCreators is M_INVALID_PARAM for power levels that name a creator of the
// room, which the room's rules would call forbidden: nobody may do that, so that
// it is the content that is wrong.
func (d *draft) checkCreators(req *SendRequest) error {
	if req.Type != "m.room.power_levels" || *req.StateKey != "" || !d.room.info.Version.PrivilegedCreators {
		return nil
	}
	own, err := d.membership(req.Sender)
	if err != nil || own != "join" {
		return err
	}
	var content struct {
		Users map[matrix.UserID]json.RawMessage `json:"users"`
	}
	if json.Unmarshal(req.Content, &content) != nil {
		return nil // for the room's rules to refuse
	}
	v := d.view()
	power := v.PowerLevels()
	if v.err != nil {
		return v.err
	}
	for user := range content.Users {
		if power.IsCreator(user) {
			return matrix.InvalidParam("%s is a creator of this room, and can't be given a power level.", user)
		}
	}
	return nil
}

// voucher is a local member who may let the user into a restricted room, or
// empty where nobody is needed or nobody can. M_FORBIDDEN if the user meets
// none of the room's conditions (Client-Server API § Restricted rooms).
func (d *draft) voucher(user matrix.UserID) (matrix.UserID, error) {
	rules, err := d.state("m.room.join_rules", "")
	if err != nil || rules == nil || !d.room.info.Version.HasRestrictedRule(field(rules.Event, "join_rule")) {
		return "", err
	}
	met, err := d.s.meetsConditions(d.ctx, rules.Content, user)
	if err != nil {
		return "", err
	}
	if !met {
		return "", matrix.Forbidden("To join this room you have to be in one of the rooms that it names, or be invited.")
	}
	by, err := d.inviter()
	if err == nil && by == "" {
		err = &unvouchedError{matrix.Forbidden("Nobody of this server may let others into the room.")}
	}
	return by, err
}

// An unvouchedError is for those who may come in, if there were somebody of this server to say so.
type unvouchedError struct{ refused error }

func (e *unvouchedError) Error() string { return e.refused.Error() }
func (e *unvouchedError) Unwrap() error { return e.refused }

// inviter is a local member who may invite.
func (d *draft) inviter() (matrix.UserID, error) {
	v := d.view()
	power := v.PowerLevels()
	if v.err != nil {
		return "", v.err
	}
	members, err := d.s.store.Members.OfRoom(d.ctx, d.room.info.NID)
	if err != nil {
		return "", err
	}
	for _, m := range members {
		if m.Membership == "join" && d.s.Local(m.User) && power.User(m.User) >= power.Invite() {
			return m.User, nil
		}
	}
	return "", nil
}

// meetsConditions reports whether a user is in one of the rooms that a
// restricted join rule names.
func (s *Service) meetsConditions(ctx context.Context, joinRules json.RawMessage, user matrix.UserID) (bool, error) {
	for _, id := range allowedRooms(joinRules) {
		joined, err := s.Joined(ctx, id, user)
		if joined || err != nil {
			return joined, err
		}
	}
	return false, nil
}

func (d *draft) admitsGuests() error {
	e, err := d.state("m.room.guest_access", "")
	if err != nil {
		return err
	}
	if e == nil || field(e.Event, "guest_access") != "can_join" {
		return matrix.NewError(403, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not join this room.")
	}
	return nil
}
