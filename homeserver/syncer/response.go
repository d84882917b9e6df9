package syncer

import (
	"encoding/json"

	"trestle/homeserver/unread"
	"trestle/internal/matrix"
)

// A Response is what /sync answers.
type Response struct {
	NextBatch   string      `json:"next_batch"`
	AccountData *EventList  `json:"account_data,omitempty"`
	Presence    *EventList  `json:"presence,omitempty"`
	ToDevice    *EventList  `json:"to_device,omitempty"`
	Rooms       *Rooms      `json:"rooms,omitempty"`
	DeviceLists *DeviceList `json:"device_lists,omitempty"`

	// Sent with every answer, since clients tell an empty store from an old
	// server by it.
	OneTimeKeys  map[string]int `json:"device_one_time_keys_count"`
	FallbackKeys []string       `json:"device_unused_fallback_key_types"`
}

// An EventList is an object whose member events is a list.
type EventList struct {
	Events []json.RawMessage `json:"events"`
}

// A DeviceList is whose devices have to be asked for, and whose need not be
// followed any more.
type DeviceList struct {
	Changed []matrix.UserID `json:"changed,omitempty"`
	Left    []matrix.UserID `json:"left,omitempty"`
}

// Rooms is the part of an answer about rooms.
type Rooms struct {
	Join   map[matrix.RoomID]*JoinedRoom  `json:"join,omitempty"`
	Invite map[matrix.RoomID]*InvitedRoom `json:"invite,omitempty"`
	Knock  map[matrix.RoomID]*KnockedRoom `json:"knock,omitempty"`
	Leave  map[matrix.RoomID]*LeftRoom    `json:"leave,omitempty"`
}

// A JoinedRoom is what is new in a room that the user is in.
type JoinedRoom struct {
	Summary            *Summary   `json:"summary,omitempty"`
	State              *EventList `json:"state,omitempty"`
	StateAfter         *EventList `json:"state_after,omitempty"`
	ProposedStateAfter *EventList `json:"org.matrix.msc4222.state_after,omitempty"`
	Timeline           *Timeline  `json:"timeline,omitempty"`
	Ephemeral          *EventList `json:"ephemeral,omitempty"`
	AccountData        *EventList `json:"account_data,omitempty"`

	Unread        *unread.Count                   `json:"unread_notifications,omitempty"`
	UnreadThreads map[matrix.EventID]unread.Count `json:"unread_thread_notifications,omitempty"`
}

// empty reports whether there is nothing in it.
func (r *JoinedRoom) empty() bool {
	return r.Summary == nil && r.State == nil && r.StateAfter == nil && r.Timeline == nil && r.Ephemeral == nil && r.AccountData == nil && r.Unread == nil
}

// An InvitedRoom is an invite.
type InvitedRoom struct {
	State EventList `json:"invite_state"`
}

// A KnockedRoom is a knock.
type KnockedRoom struct {
	State EventList `json:"knock_state"`
}

// A LeftRoom is what a user still sees of a room that it has left.
type LeftRoom struct {
	State              *EventList `json:"state,omitempty"`
	StateAfter         *EventList `json:"state_after,omitempty"`
	ProposedStateAfter *EventList `json:"org.matrix.msc4222.state_after,omitempty"`
	Timeline           *Timeline  `json:"timeline,omitempty"`
	AccountData        *EventList `json:"account_data,omitempty"`
}

// A Timeline is the newest events of a room.
type Timeline struct {
	Events    []json.RawMessage `json:"events"`
	Limited   bool              `json:"limited"`
	PrevBatch string            `json:"prev_batch,omitempty"`
}

// A Summary lets clients name a room without all of its members.
type Summary struct {
	Heroes  []matrix.UserID `json:"m.heroes,omitempty"`
	Joined  *int64          `json:"m.joined_member_count,omitempty"`
	Invited *int64          `json:"m.invited_member_count,omitempty"`
}

// StateAfterAsProposed gives state_after the name that it had in MSC4222, for
// clients that asked for it so: they look for no other.
func (r *Response) StateAfterAsProposed() {
	if r.Rooms == nil {
		return
	}
	for _, room := range r.Rooms.Join {
		room.StateAfter, room.ProposedStateAfter = nil, room.StateAfter
	}
	for _, room := range r.Rooms.Leave {
		room.StateAfter, room.ProposedStateAfter = nil, room.StateAfter
	}
}

// empty reports whether there is nothing in the answer that a client waits for.
func (r *Response) empty() bool {
	return r.AccountData == nil && r.Presence == nil && r.ToDevice == nil && r.Rooms == nil && r.DeviceLists == nil
}

func eventList(events []json.RawMessage) *EventList {
	if len(events) == 0 {
		return nil
	}
	return &EventList{events}
}
