package syncer

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// surroundings is what is shown before and after an event, and the places
// before the first and behind the last.
type surroundings struct {
	event         *storage.Event
	before, after []shown
	start, end    Token
}

// last is the newest event of all.
func (a *surroundings) last() *storage.Event {
	if n := len(a.after); n > 0 {
		return a.after[n-1].event
	}
	return a.event
}

// around is the events before and after one, the nearest first.
func (w walk) around(e *storage.Event, before, after int) (*surroundings, error) {
	a := &surroundings{event: e}
	back := w
	back.place, back.end = e.Ordering-1, math.MinInt64
	var err error
	if a.before, _, err = back.collect(before, true); err != nil {
		return nil, err
	}
	w.place, w.end = e.Ordering, w.access.UpTo
	if a.after, _, err = w.collect(after, false); err != nil {
		return nil, err
	}
	a.start.Position, a.end.Position = back.place, w.place
	return a, nil
}

// Around is what was said around a result of a search.
type Around struct {
	Start    string                    `json:"start"`
	End      string                    `json:"end"`
	Before   []json.RawMessage         `json:"events_before"`
	After    []json.RawMessage         `json:"events_after"`
	Profiles map[matrix.UserID]Profile `json:"profile_info,omitempty"`
}

// A Profile is what a user was called.
type Profile struct {
	DisplayName string `json:"displayname,omitempty"`
	AvatarURL   string `json:"avatar_url,omitempty"`
}

// Around is up to so many events before and after one that the reader sees,
// with what their senders were called at the last of them if profiles are wanted.
func (s *Service) Around(ctx context.Context, reader rooms.Reader, access *rooms.Access, sight *rooms.Sight, e *storage.Event, before, after int, profiles bool) (*Around, error) {
	w := walk{Service: s, ctx: ctx, access: access, sight: sight, reader: reader, filter: new(accounts.RoomEventFilter)}
	found, err := w.around(e, before, after)
	if err != nil {
		return nil, err
	}
	a := &Around{Start: found.start.String(), End: found.end.String()}
	if a.Before, err = w.render(found.before); err != nil {
		return nil, err
	}
	if a.After, err = w.render(found.after); err != nil {
		return nil, err
	}
	if profiles {
		a.Profiles, err = w.profiles(found)
	}
	return a, err
}

// profiles is what the senders were called at the last event.
func (w *walk) profiles(found *surroundings) (map[matrix.UserID]Profile, error) {
	state, err := w.Rooms.At(w.ctx, w.access.Info.NID, found.last().Root)
	if err != nil {
		return nil, err
	}
	all := map[matrix.UserID]Profile{}
	for _, e := range append(slices.Concat(found.before, found.after), shown{event: found.event}) {
		user := e.event.Sender
		if _, known := all[user]; known {
			continue
		}
		member, err := state.Event(w.ctx, "m.room.member", string(user))
		if err != nil {
			return nil, err
		}
		all[user] = Profile{}
		if member != nil {
			all[user] = profileOf(member)
		}
	}
	return all, nil
}

// profileOf is the profile in a member event: what is no text is nothing, and
// so is an avatar that is none of Matrix's.
func profileOf(member *storage.Event) Profile {
	var content struct {
		DisplayName json.RawMessage `json:"displayname"`
		AvatarURL   json.RawMessage `json:"avatar_url"`
	}
	var p Profile
	if json.Unmarshal(member.Content, &content) == nil {
		_ = json.Unmarshal(content.DisplayName, &p.DisplayName)
		_ = json.Unmarshal(content.AvatarURL, &p.AvatarURL)
	}
	if len(p.AvatarURL) < 6 || p.AvatarURL[:6] != "mxc://" {
		p.AvatarURL = ""
	}
	return p
}
