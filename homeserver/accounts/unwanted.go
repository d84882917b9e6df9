package accounts

import (
	"context"
	"encoding/json"
	"net"
	"slices"

	"trestle/internal/matrix"
)

// The account data by which users say whom they do not want to hear from.
const (
	ignoredType         = "m.ignored_user_list"
	invitesType         = "m.invite_permission_config"
	earlyInvitesType    = "org.matrix.msc4380.invite_permission_config" // until the other was in the specification
	proposedInvitesType = "org.matrix.msc4155.invite_permission_config"
)

// A Verdict is what becomes of an invite.
type Verdict int

// The verdicts.
const (
	Welcome Verdict = iota
	Hidden          // the invite is made, and not shown
	Blocked         // M_INVITE_BLOCKED
)

// An Unwanted is whom a user does not want to hear from. It is not changed.
type Unwanted struct {
	ignored map[matrix.UserID]bool
	blocked bool // every invite
	rules   inviteRules
}

// inviteRules are those of MSC4155: lists of globs, of which the first that
// matches decides.
type inviteRules struct {
	AllowedUsers   []string `json:"allowed_users"`
	IgnoredUsers   []string `json:"ignored_users"`
	BlockedUsers   []string `json:"blocked_users"`
	AllowedServers []string `json:"allowed_servers"`
	IgnoredServers []string `json:"ignored_servers"`
	BlockedServers []string `json:"blocked_servers"`
}

// Size is how many users and patterns are named.
func (u *Unwanted) Size() int {
	r := &u.rules
	return len(u.ignored) + len(r.AllowedUsers) + len(r.IgnoredUsers) + len(r.BlockedUsers) +
		len(r.AllowedServers) + len(r.IgnoredServers) + len(r.BlockedServers)
}

// RefusesAll reports whether the user takes no invites at all.
func (u *Unwanted) RefusesAll() bool { return u.blocked }

// Ignores reports whether the user has put somebody on m.ignored_user_list.
func (u *Unwanted) Ignores(other matrix.UserID) bool { return u.ignored[other] }

// Invite is the verdict about an invite by somebody (Client-Server API §
// Invite permission; MSC4155).
func (u *Unwanted) Invite(by matrix.UserID) Verdict {
	if u.blocked {
		return Blocked
	}
	server := string(by.Server())
	if host, _, err := net.SplitHostPort(server); err == nil {
		server = host
	}
	for _, list := range []struct {
		globs   []string
		text    string
		verdict Verdict
	}{
		{u.rules.AllowedUsers, string(by), Welcome}, {u.rules.IgnoredUsers, string(by), Hidden}, {u.rules.BlockedUsers, string(by), Blocked},
		{u.rules.AllowedServers, server, Welcome}, {u.rules.IgnoredServers, server, Hidden}, {u.rules.BlockedServers, server, Blocked},
	} {
		if slices.ContainsFunc(list.globs, func(glob string) bool { return matrix.MatchGlob(glob, list.text) }) {
			return u.unlessIgnored(by, list.verdict)
		}
	}
	return u.unlessIgnored(by, Welcome)
}

func (u *Unwanted) unlessIgnored(by matrix.UserID, v Verdict) Verdict {
	if v == Welcome && u.ignored[by] {
		return Hidden
	}
	return v
}

// UnwantedOf is whom a user does not want to hear from who has this account data, by types.
func UnwantedOf(data map[string]json.RawMessage) *Unwanted {
	u := &Unwanted{ignored: map[matrix.UserID]bool{}}
	for _, part := range []struct {
		dataType string
		take     func(content json.RawMessage)
	}{
		{ignoredType, u.takeIgnored}, {earlyInvitesType, u.takePermission}, {invitesType, u.takePermission}, {proposedInvitesType, u.takeRules},
	} {
		if content := data[part.dataType]; content != nil {
			part.take(content)
		}
	}
	return u
}

// What has not the form of its type says nothing.

func (u *Unwanted) takeIgnored(content json.RawMessage) {
	var list struct {
		Users map[matrix.UserID]json.RawMessage `json:"ignored_users"`
	}
	_ = json.Unmarshal(content, &list)
	for user := range list.Users {
		u.ignored[user] = true
	}
}

func (u *Unwanted) takePermission(content json.RawMessage) {
	var permission struct {
		DefaultAction string `json:"default_action"`
	}
	_ = json.Unmarshal(content, &permission)
	switch permission.DefaultAction {
	case "block":
		u.blocked = true
	case "allow":
		u.blocked = false // what is said by the name of today wins
	}
}

func (u *Unwanted) takeRules(content json.RawMessage) {
	rules := struct {
		Enabled *bool `json:"enabled"`
		inviteRules
	}{}
	if json.Unmarshal(content, &rules) == nil && (rules.Enabled == nil || *rules.Enabled) {
		u.rules = rules.inviteRules
	}
}

// Unwanted is whom a user does not want to hear from.
func (s *Service) Unwanted(ctx context.Context, user matrix.UserID) (*Unwanted, error) {
	data, err := s.options.Store.Data.OfTypes(ctx, s.options.DB.Read(), user, []string{ignoredType, invitesType, earlyInvitesType, proposedInvitesType})
	if err != nil {
		return nil, err
	}
	return UnwantedOf(data), nil
}

// InviteBlocked reports whether a user of this server refuses an invite.
func (s *Service) InviteBlocked(ctx context.Context, user, by matrix.UserID) (bool, error) {
	u, err := s.Unwanted(ctx, user)
	if err != nil {
		return false, err
	}
	return u.Invite(by) == Blocked, nil
}
