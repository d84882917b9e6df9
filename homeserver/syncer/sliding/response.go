package sliding

import (
	"encoding/json"

	"trestle/internal/matrix"
)

// A Response is the answer.
type Response struct {
	Pos        string                  `json:"pos"`
	Lists      map[string]List         `json:"lists"`
	Rooms      map[matrix.RoomID]*Room `json:"rooms"`
	Extensions Extensions              `json:"extensions"`
}

// A List says how many rooms its filters let through.
type List struct {
	Count int `json:"count"`
}

// A Room is what is new of a room, or all of it where it is initial. What is
// missing is as it was, or is not set.
type Room struct {
	Initial    bool              `json:"initial,omitempty"`
	Membership string            `json:"membership,omitempty"`
	Lists      []string          `json:"lists,omitempty"`
	Name       json.RawMessage   `json:"name,omitempty"`   // null when it was removed
	Avatar     json.RawMessage   `json:"avatar,omitempty"` // the same
	Heroes     []Hero            `json:"heroes,omitempty"`
	IsDM       *bool             `json:"is_dm,omitempty"`
	BumpStamp  *int64            `json:"bump_stamp,omitempty"`
	Joined     *int64            `json:"joined_count,omitempty"`
	Invited    *int64            `json:"invited_count,omitempty"`
	State      []json.RawMessage `json:"required_state,omitempty"`
	Timeline   []json.RawMessage `json:"timeline,omitempty"`
	PrevBatch  string            `json:"prev_batch,omitempty"`
	Limited    bool              `json:"limited,omitempty"`
	NumLive    *int              `json:"num_live,omitempty"`
	Expanded   bool              `json:"expanded_timeline,omitempty"`
	Stripped   []json.RawMessage `json:"stripped_state,omitempty"`

	// As the proposal named these before, and what it has no more.
	ProposedExpanded bool              `json:"unstable_expanded_timeline,omitempty"`
	InviteState      []json.RawMessage `json:"invite_state,omitempty"`
	Notifications    *int64            `json:"notification_count,omitempty"`
	Highlights       *int64            `json:"highlight_count,omitempty"`
}

// A Hero is somebody by whom a room without a name is called.
type Hero struct {
	User        matrix.UserID `json:"user_id"`
	DisplayName string        `json:"displayname,omitempty"`
	AvatarURL   string        `json:"avatar_url,omitempty"`
}

// propose gives the members of a room the names of the prefix
// org.matrix.simplified_msc3575.
func (r *Room) propose() {
	r.ProposedExpanded, r.Expanded = r.Expanded, false
	r.InviteState, r.Stripped = r.Stripped, nil
	r.Lists = nil
}

// Extensions is what was asked for beside rooms.
type Extensions struct {
	ToDevice    *ToDevice    `json:"to_device,omitempty"`
	E2EE        *E2EE        `json:"e2ee,omitempty"`
	AccountData *AccountData `json:"account_data,omitempty"`
	Receipts    *RoomEvents  `json:"receipts,omitempty"`
	Typing      *RoomEvents  `json:"typing,omitempty"`

	Threads *ThreadSubscriptions `json:"io.element.msc4308.thread_subscriptions,omitempty"`
}

// ToDevice is messages to the device.
type ToDevice struct {
	NextBatch string            `json:"next_batch"`
	Events    []json.RawMessage `json:"events"`
}

// E2EE is what end-to-end encryption needs.
type E2EE struct {
	DeviceLists  *DeviceLists   `json:"device_lists,omitempty"`
	OneTimeKeys  map[string]int `json:"device_one_time_keys_count"`
	FallbackKeys []string       `json:"device_unused_fallback_key_types"`
}

// DeviceLists is whose devices changed, and whose need not be followed any more.
type DeviceLists struct {
	Changed []matrix.UserID `json:"changed"`
	Left    []matrix.UserID `json:"left"`
}

// AccountData is what the user keeps on the server.
type AccountData struct {
	Global []json.RawMessage                   `json:"global,omitempty"`
	Rooms  map[matrix.RoomID][]json.RawMessage `json:"rooms,omitempty"`
}

// RoomEvents is one event for each room.
type RoomEvents struct {
	Rooms map[matrix.RoomID]json.RawMessage `json:"rooms"`
}
