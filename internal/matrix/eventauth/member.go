package eventauth

import (
	"encoding/json"

	"trestle/internal/matrix"
)

// member are the rules for m.room.member.
func (c *check) member() error {
	if c.StateKey == nil {
		return matrix.Forbidden("A membership needs a state key: the user whose membership it is.")
	}
	content := members(c.Content)
	voucher, err := authoriser(c.Event, content)
	if err != nil {
		return err
	}
	target := matrix.UserID(*c.StateKey)
	switch c.Membership() {
	case "join":
		return c.join(target, voucher)
	case "invite":
		if signed, ok := content["third_party_invite"]; ok {
			return c.thirdPartyInvite(target, signed)
		}
		return c.invite(target)
	case "leave":
		return c.leave(target)
	case "ban":
		return c.ban(target)
	case "knock":
		if c.Version.Knocking {
			return c.knock(target)
		}
	}
	return matrix.Forbidden("%.80q is not a membership in this room version.", c.Membership())
}

func (c *check) join(target, voucher matrix.UserID) error {
	if len(c.PrevEvents) == 1 && c.PrevEvents[0] == c.levels.create.ID && c.isFirst(target) {
		return nil
	}
	if c.Sender != target {
		return matrix.Forbidden("%s can't join for %s.", c.Sender, target)
	}
	current := c.membership(target)
	if current == "ban" {
		return matrix.Forbidden("%s is banned from this room.", target)
	}
	entitled := current == "join" || current == "invite"
	rule := c.joinRule()
	switch {
	case rule == "public":
		return nil
	case c.Version.HasRestrictedRule(rule):
		if entitled {
			return nil
		}
		return c.restrictedJoin(voucher)
	case rule == "invite", rule == "knock" && c.Version.Knocking:
		if entitled {
			return nil
		}
		return matrix.Forbidden("%s is not invited to this room.", target)
	}
	return matrix.Forbidden("Nobody can join this room: its join rule is %.80q.", rule)
}

// isFirst reports whether the user is the one who may join right after the
// create event. Additional creators are not.
func (c *check) isFirst(user matrix.UserID) bool {
	if c.Version.CreatorFromSender {
		return user == c.levels.create.Sender
	}
	return c.levels.IsCreator(user)
}

// restrictedJoin: somebody in the room who may invite has to vouch for the
// join. That he really did is what his server's signature says.
func (c *check) restrictedJoin(voucher matrix.UserID) error {
	if voucher == "" {
		return matrix.Forbidden("%s is not invited to this room, and no member who may invite has vouched for the join.", c.Sender)
	}
	if c.membership(voucher) != "join" {
		return matrix.Forbidden("%s, who vouches for the join, is not in this room.", voucher)
	}
	return c.atLeast(voucher, c.levels.Invite(), "to vouch for a join")
}

func (c *check) joinRule() string {
	e := c.state.Event("m.room.join_rules", "")
	if e == nil {
		return "invite"
	}
	raw, ok := members(e.Content)["join_rule"]
	if !ok {
		return "invite"
	}
	rule, _ := text(raw)
	return rule
}

func (c *check) invite(target matrix.UserID) error {
	if c.membership(c.Sender) != "join" {
		return matrix.Forbidden("%s is not in this room.", c.Sender)
	}
	switch c.membership(target) {
	case "join":
		return matrix.Forbidden("%s is in this room already.", target)
	case "ban":
		return matrix.Forbidden("%s is banned from this room.", target)
	}
	return c.atLeast(c.Sender, c.levels.Invite(), "to invite people")
}

func (c *check) leave(target matrix.UserID) error {
	if c.Sender == target {
		switch current := c.membership(target); {
		case current == "join", current == "invite", current == "knock" && c.Version.Knocking:
			return nil
		case current == "ban":
			return matrix.Forbidden("%s is banned from this room.", target)
		}
		return matrix.Forbidden("%s is not in this room.", target)
	}
	if c.membership(c.Sender) != "join" {
		return matrix.Forbidden("%s is not in this room.", c.Sender)
	}
	if c.membership(target) == "ban" {
		if err := c.atLeast(c.Sender, c.levels.Ban(), "to unban people"); err != nil {
			return err
		}
	}
	if err := c.atLeast(c.Sender, c.levels.Kick(), "to remove people"); err != nil {
		return err
	}
	return c.above(target)
}

func (c *check) ban(target matrix.UserID) error {
	if c.membership(c.Sender) != "join" {
		return matrix.Forbidden("%s is not in this room.", c.Sender)
	}
	if err := c.atLeast(c.Sender, c.levels.Ban(), "to ban people"); err != nil {
		return err
	}
	return c.above(target)
}

// above checks that the sender has more power than the target.
func (c *check) above(target matrix.UserID) error {
	if c.levels.User(c.Sender) > c.levels.User(target) {
		return nil
	}
	return matrix.Forbidden("%s has as much power in this room as %s, or more.", target, c.Sender)
}

func (c *check) knock(target matrix.UserID) error {
	if rule := c.joinRule(); !c.Version.HasKnockRule(rule) {
		return matrix.Forbidden("Nobody can knock on this room: its join rule is %.80q.", rule)
	}
	if c.Sender != target {
		return matrix.Forbidden("%s can't knock for %s.", c.Sender, target)
	}
	switch c.membership(target) {
	case "join":
		return matrix.Forbidden("%s is in this room already.", target)
	case "invite":
		return matrix.Forbidden("%s is invited to this room, and can join.", target)
	case "ban":
		return matrix.Forbidden("%s is banned from this room.", target)
	}
	return nil
}

// authoriser is the user who vouches for a restricted join, or empty if none
// is named.
func authoriser(e *matrix.Event, content map[string]json.RawMessage) (matrix.UserID, error) {
	raw, given := content["join_authorised_via_users_server"]
	if !given || !e.Version.Restricted {
		return "", nil
	}
	id, _ := text(raw)
	user, err := matrix.ParseUserID(id)
	if err != nil {
		return "", matrix.Forbidden("join_authorised_via_users_server is not a user ID.")
	}
	return user, nil
}
