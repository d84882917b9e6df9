package sliding

import (
	"encoding/json"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// describe fills in by what a room is shown in a list, and reports whether
// something of that is new.
func (b *roomBuild) describe(direct bool) (changed bool, err error) {
	f := &b.now.facts
	f.membership, f.direct = b.e.at.Membership, direct
	var heroes []Hero
	if b.e.kind == joined {
		heroes, err = b.describeJoined(f)
	} else {
		err = b.describeLeft(f)
	}
	if err != nil {
		return false, err
	}
	changed = b.room.setFacts(b.was.known(), f, b.fresh)
	if b.e.kind != joined {
		return changed, nil
	}
	var was facts
	if !b.fresh {
		was = b.was.facts
	}
	if f.heroes != was.heroes {
		b.room.Heroes, changed = heroes, true
	}
	if b.fresh || f.joined != was.joined || f.invited != was.invited {
		b.room.Joined, b.room.Invited, changed = &f.joined, &f.invited, true
	}
	if b.req.Proposed {
		changed = changed || f.notifications != was.notifications || f.highlights != was.highlights
		b.room.Notifications, b.room.Highlights = &f.notifications, &f.highlights
	}
	return changed, nil
}

func (b *roomBuild) describeJoined(f *facts) (heroes []Hero, err error) {
	now, err := b.sync.Rooms.Head(b.ctx, b.e.at.NID)
	if err != nil {
		return nil, err
	}
	f.name, f.avatar = now.Summary.Name, now.Summary.AvatarURL
	f.joined, f.invited = now.Summary.JoinedMembers, now.Summary.InvitedMembers
	f.bump = b.e.standing.Bump
	switch {
	case f.name != "":
	case !b.fresh && b.was.root == b.now.root && b.was.facts.name == "":
		f.heroes = b.was.facts.heroes
	default:
		if heroes, err = b.heroes(now); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(heroes)
		if err != nil {
			return nil, err
		}
		f.heroes = string(raw)
	}
	if b.sync.Unread == nil {
		return heroes, nil
	}
	unread, err := b.sync.Unread.Counts(b.ctx, b.req.User, b.e.at.NID, b.snap.Position)
	count := unread.Total()
	f.notifications, f.highlights = count.Notifications, count.Highlights
	return heroes, err
}

// describeLeft describes a room as it was when the user left it.
func (b *roomBuild) describeLeft(f *facts) error {
	f.bump = b.e.at.Position
	for typ, into := range map[string]*string{"m.room.name": &f.name, "m.room.avatar": &f.avatar} {
		e, err := b.state.Event(b.ctx, typ, "")
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		var content struct {
			Name json.RawMessage `json:"name"`
			URL  json.RawMessage `json:"url"`
		}
		raw := &content.Name
		if typ == "m.room.avatar" {
			raw = &content.URL
		}
		// What is no text is no name.
		if json.Unmarshal(e.Content, &content) == nil {
			_ = json.Unmarshal(*raw, into)
		}
	}
	return nil
}

// maxHeroes is by how many a room is called (Client-Server API § Calculating
// the display name for a room).
const maxHeroes = 5

func (b *roomBuild) heroes(now *rooms.Snapshot) ([]Hero, error) {
	users, err := b.sync.Store.Members.Heroes(b.ctx, b.e.at.NID, b.req.User, maxHeroes)
	if err != nil {
		return nil, err
	}
	heroes := make([]Hero, 0, len(users))
	for _, user := range users {
		hero := Hero{User: user}
		e, err := now.Event(b.ctx, "m.room.member", string(user))
		if err != nil {
			return nil, err
		}
		if e != nil {
			hero.describe(e.Event)
		}
		heroes = append(heroes, hero)
	}
	return heroes, nil
}

func (h *Hero) describe(member *matrix.Event) {
	var content struct {
		DisplayName json.RawMessage `json:"displayname"`
		AvatarURL   json.RawMessage `json:"avatar_url"`
	}
	// What is no text is no name.
	if json.Unmarshal(member.Content, &content) == nil {
		_ = json.Unmarshal(content.DisplayName, &h.DisplayName)
		_ = json.Unmarshal(content.AvatarURL, &h.AvatarURL)
	}
}
