package sliding

import (
	"encoding/json"
	"slices"

	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// filters choose the rooms of a list. What is nil does not matter.
type filters struct {
	IsDM         *bool           `json:"is_dm"`
	Spaces       []matrix.RoomID `json:"spaces"`
	IsEncrypted  *bool           `json:"is_encrypted"`
	IsInvited    *bool           `json:"is_invited"`
	IsInvite     *bool           `json:"is_invite"` // the name before
	RoomTypes    []*string       `json:"room_types"`
	NotRoomTypes []*string       `json:"not_room_types"`
	Tags         []string        `json:"tags"`
	NotTags      []string        `json:"not_tags"`
}

func (f *filters) check() error {
	if len(f.Spaces)+len(f.RoomTypes)+len(f.NotRoomTypes)+len(f.Tags)+len(f.NotTags) > maxFilterValues {
		return matrix.InvalidParam("A filter has at most %d values.", maxFilterValues)
	}
	if f.IsInvited == nil {
		f.IsInvited = f.IsInvite
	}
	return nil
}

// allows reports whether an entry is in a list with these filters.
func (a *answer) allows(f *filters, e *entry) (bool, error) {
	if f.IsInvited != nil && *f.IsInvited != (e.at.Membership == "invite") ||
		f.IsEncrypted != nil && *f.IsEncrypted != e.standing.Encrypted ||
		f.RoomTypes != nil && !hasType(f.RoomTypes, e.standing.Type) || hasType(f.NotRoomTypes, e.standing.Type) {
		return false, nil
	}
	if f.IsDM != nil {
		direct, err := a.direct()
		if err != nil || *f.IsDM != direct[e.info.ID] {
			return false, err
		}
	}
	if f.Tags != nil || f.NotTags != nil {
		tags, err := a.tags()
		if err != nil {
			return false, err
		}
		has := func(tag string) bool { return slices.Contains(tags[e.info.ID], tag) }
		if f.Tags != nil && !slices.ContainsFunc(f.Tags, has) || slices.ContainsFunc(f.NotTags, has) {
			return false, nil
		}
	}
	if f.Spaces == nil {
		return true, nil
	}
	return a.inSpaces(f.Spaces, e.info.ID)
}

// hasType reports whether a list of types, in which null is no type, has one.
func hasType(types []*string, roomType string) bool {
	return slices.ContainsFunc(types, func(t *string) bool { return t == nil && roomType == "" || t != nil && *t == roomType })
}

// direct is the rooms that the user has marked as direct chats in m.direct.
func (a *answer) direct() (map[matrix.RoomID]bool, error) {
	c := &a.conn.direct
	if c.known && !a.snap.Changed(notifier.AccountData, c.position) {
		return c.value, nil
	}
	content, err := a.sync.AccountData.AccountData(a.ctx, a.req.User, "", "m.direct")
	if err != nil && matrix.Code(err) != "M_NOT_FOUND" {
		return nil, err
	}
	rooms := map[matrix.RoomID]bool{}
	var users map[string]json.RawMessage
	// Clients write what they like there; what is no list is none.
	if err == nil && json.Unmarshal(content, &users) == nil {
		for _, raw := range users {
			var list []matrix.RoomID
			if json.Unmarshal(raw, &list) == nil {
				for _, id := range list {
					rooms[id] = true
				}
			}
		}
	}
	*c = cached[map[matrix.RoomID]bool]{a.snap.Position, rooms, true}
	return rooms, nil
}

// tags is the tags of all rooms that have any.
func (a *answer) tags() (map[matrix.RoomID][]string, error) {
	c := &a.conn.tags
	if c.known && !a.snap.Changed(notifier.AccountData, c.position) {
		return c.value, nil
	}
	since := c.position // 0 at first
	changed, err := a.sync.AccountData.RoomAccountDataSince(a.ctx, a.req.User, since, a.snap.Position)
	if err != nil {
		return nil, err
	}
	if !c.known {
		c.value = map[matrix.RoomID][]string{}
	}
	for room, events := range changed {
		for _, raw := range events {
			var e struct {
				Type    string `json:"type"`
				Content struct {
					Tags map[string]json.RawMessage `json:"tags"`
				} `json:"content"`
			}
			if err := json.Unmarshal(raw, &e); e.Type != "m.tag" || err != nil && e.Content.Tags == nil {
				continue
			}
			c.value[room] = nil
			for tag := range e.Content.Tags {
				c.value[room] = append(c.value[room], tag)
			}
		}
	}
	c.position, c.known = a.snap.Position, true
	return c.value, nil
}

// A space is the children of a space in one of its states.
type space struct {
	root     int64
	children map[matrix.RoomID]bool
}

// inSpaces reports whether a room is a child of one of some spaces that the
// user is in.
func (a *answer) inSpaces(spaces []matrix.RoomID, room matrix.RoomID) (bool, error) {
	for _, id := range spaces {
		info, err := a.sync.Store.Rooms.Info(a.ctx, id)
		if err != nil || a.snap.Rooms[info.NID].Membership != "join" {
			continue // not known here, or not for this user to look into
		}
		children, err := a.children(info.NID)
		if err != nil {
			return false, err
		}
		if children[room] {
			return true, nil
		}
	}
	return false, nil
}

func (a *answer) children(nid int64) (map[matrix.RoomID]bool, error) {
	now, err := a.sync.Rooms.Head(a.ctx, nid)
	if err != nil {
		return nil, err
	}
	if known, ok := a.conn.spaces[nid]; ok && known.root == now.Root() {
		return known.children, nil
	}
	events, err := now.Events(a.ctx, func(key storage.StateKey) bool { return key.Type == "m.space.child" })
	if err != nil {
		return nil, err
	}
	s := space{now.Root(), map[matrix.RoomID]bool{}}
	for _, e := range events {
		var content struct {
			Via []string `json:"via"`
		}
		// A child without servers to join through has been taken out.
		if json.Unmarshal(e.Content, &content) == nil && content.Via != nil {
			s.children[matrix.RoomID(*e.StateKey)] = true
		}
	}
	a.conn.spaces[nid] = s
	return s.children, nil
}
