package pushers

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The priorities of the Push Gateway API.
const (
	high = "high"
	low  = "low"
)

// A subject is an event that somebody is told of, in its room.
type subject struct {
	event *storage.Event
	room  *rooms.Snapshot
}

// subject looks up what a notification is about; nil if there is nothing to
// tell any more: the event was deleted or redacted, or its reader has left.
func (s *Service) subject(ctx context.Context, user matrix.UserID, n storage.Notification) (*subject, error) {
	e, err := s.options.Store.Events.ByNID(ctx, n.EventNID)
	if errors.Is(err, database.ErrNoRows) || err == nil && e.RedactedBy != 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := s.options.Store.Members.In(ctx, n.RoomNID, user)
	if err != nil || m == nil || m.Membership != "join" && m.Membership != "invite" && m.Membership != "knock" {
		return nil, err
	}
	room, err := s.options.Rooms.Head(ctx, n.RoomNID)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return &subject{e, room}, err
}

// senderName is the display name of the event's sender in the room, or empty.
func (s *subject) senderName(ctx context.Context) (string, error) {
	return memberName(ctx, s.room, s.event.Sender)
}

func memberName(ctx context.Context, room *rooms.Snapshot, user matrix.UserID) (string, error) {
	e, err := room.Event(ctx, "m.room.member", string(user))
	if err != nil || e == nil {
		return "", err
	}
	return textOf(e.Content, "displayname"), nil
}

// textOf is a member of an object if it is a text, or empty.
func textOf(object json.RawMessage, name string) string {
	var members map[string]json.RawMessage
	var text string
	if json.Unmarshal(object, &members) != nil || json.Unmarshal(members[name], &text) != nil {
		return ""
	}
	return text
}

// render is a notification as the gateway is told it; nil if there is nothing
// to tell.
func (d *delivery) render(n storage.Notification, unread int64) (*notification, error) {
	if d.tooOld(n.TS, d.options.GiveUp) {
		d.metrics.sent.WithLabelValues(expired).Inc()
		return nil, nil
	}
	about, err := d.subject(d.ctx, d.pusher.User, n)
	if err != nil || about == nil {
		return nil, err
	}
	e, phone := about.event, d.device()
	phone.Tweaks = tweaksOf(n.Actions)
	body := &notification{EventID: e.ID, RoomID: e.RoomID, Priority: priority(e, phone.Tweaks), Devices: []device{phone}}
	if !d.to.NoBadge && unread > 0 {
		body.Counts = &counts{&unread}
	}
	if d.to.IDOnly {
		return body, nil
	}
	body.Type, body.Sender, body.Content = e.Type, e.Sender, e.Content
	body.RoomName, body.RoomAlias = about.room.Summary.Name, about.room.Summary.CanonicalAlias
	if e.Type == "m.room.member" && e.IsState() {
		body.Membership, body.UserIsTarget = e.Membership(), e.StateKeyIs(string(d.pusher.User))
	}
	body.SenderDisplayName, err = about.senderName(d.ctx)
	return body, err
}

// device is how the gateway knows the pusher.
func (d *delivery) device() device {
	return device{AppID: d.pusher.AppID, Key: d.pusher.Key, KeyTime: d.pusher.SetAt / 1000, Data: d.to.Rest}
}

// tweaksOf is what a rule says of how to notify. A tweak without a value is a
// plain yes.
func tweaksOf(actions json.RawMessage) map[string]json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(actions, &list) != nil {
		return nil
	}
	tweaks := map[string]json.RawMessage{}
	for _, raw := range list {
		var tweak struct {
			Name  string          `json:"set_tweak"`
			Value json.RawMessage `json:"value"`
		}
		if json.Unmarshal(raw, &tweak) != nil || tweak.Name == "" {
			continue
		}
		if tweak.Value == nil {
			tweak.Value = json.RawMessage("true")
		}
		tweaks[tweak.Name] = tweak.Value
	}
	return tweaks
}

// priority is high for what makes a sound or is for its reader in particular,
// and for what may turn out to be once it is decrypted.
func priority(e *storage.Event, tweaks map[string]json.RawMessage) string {
	var sound string
	_ = json.Unmarshal(tweaks["sound"], &sound) // a sound that is no text is none
	if sound != "" || string(tweaks["highlight"]) == "true" || e.Type == "m.room.encrypted" {
		return high
	}
	return low
}
