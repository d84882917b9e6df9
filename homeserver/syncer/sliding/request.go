package sliding

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

const (
	maxLists         = 100
	maxSubscriptions = 100
	maxRanges        = 100
	maxRequired      = 1000 // elements of required_state
	maxFilterValues  = 1000
	maxName          = 255 // bytes of any name in a request
	maxTimeline      = 100 // events of one room in one answer
)

// A Request is what a client asks for.
type Request struct {
	User        matrix.UserID
	Device      matrix.DeviceID
	ConnID      string
	Pos         string // empty: a new connection
	Timeout     time.Duration
	SetPresence string
	// Proposed tells that the answer has the names of the prefix
	// org.matrix.simplified_msc3575 rather than those of /v4.
	Proposed bool
	// Stop, when closed, ends the waiting with what there is.
	Stop <-chan struct{}
	// Patience, if not 0, is how long Sync may wait before it answers [syncer.Idle].
	Patience time.Duration

	lists         map[string]*list
	subscriptions map[matrix.RoomID]*config
	extensions    extensions
}

// A list is a window into the user's rooms, the newest first.
type list struct {
	config  *config
	ranges  [][2]int // nil: all rooms
	filters filters
}

// contains reports whether the room at a place of the filtered list is in the window.
func (l *list) contains(place int) bool {
	return l.ranges == nil || slices.ContainsFunc(l.ranges, func(r [2]int) bool { return r[0] <= place && place <= r[1] })
}

type rawBody struct {
	ConnID        string                `json:"conn_id"`
	Pos           string                `json:"pos"`
	Timeout       *int64                `json:"timeout"`
	SetPresence   string                `json:"set_presence"`
	Lists         map[string]*rawList   `json:"lists"`
	Subscriptions map[string]*rawConfig `json:"room_subscriptions"`
	Extensions    extensions            `json:"extensions"`
}

type rawConfig struct {
	TimelineLimit *int64          `json:"timeline_limit"`
	RequiredState json.RawMessage `json:"required_state"`
}

type rawList struct {
	rawConfig
	Range   []int64   `json:"range"`
	Ranges  [][]int64 `json:"ranges"`
	Filters filters   `json:"filters"`
}

// Parse reads the body of a request into it: of the proposal's newest form and
// of the one before, whose pos, timeout and set_presence are in the URL.
// M_BAD_JSON for wrong types, M_INVALID_PARAM for wrong values.
func (r *Request) Parse(body []byte) error {
	var raw rawBody
	if err := json.Unmarshal(body, &raw); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return matrix.BadJSON("%s cannot be %s.", strings.Trim(wrongType.Field, "."), wrongType.Value)
		}
		return matrix.NotJSON("The body is not valid JSON.")
	}
	r.ConnID = raw.ConnID
	if r.Pos == "" {
		r.Pos = raw.Pos
	}
	if r.SetPresence == "" {
		r.SetPresence = raw.SetPresence
	}
	if raw.Timeout != nil && r.Timeout == 0 {
		r.Timeout = time.Duration(max(0, min(*raw.Timeout, syncer.MaxTimeout.Milliseconds()))) * time.Millisecond
	}
	switch {
	case raw.Timeout != nil && *raw.Timeout < 0:
		return matrix.InvalidParam("timeout is a number of milliseconds.")
	case len(r.ConnID) > maxName:
		return matrix.InvalidParam("conn_id has at most %d bytes.", maxName)
	case len(raw.Lists) > maxLists:
		return matrix.InvalidParam("A request has at most %d lists.", maxLists)
	case len(raw.Subscriptions) > maxSubscriptions:
		return matrix.InvalidParam("A request has at most %d room subscriptions.", maxSubscriptions)
	}
	switch r.SetPresence {
	case "", "online", "offline", "unavailable":
	default:
		return matrix.InvalidParam("set_presence is online, offline or unavailable.")
	}
	r.extensions = raw.Extensions
	if err := r.extensions.check(); err != nil {
		return err
	}
	return r.parseRules(&raw)
}

func (r *Request) parseRules(raw *rawBody) error {
	r.lists = make(map[string]*list, len(raw.Lists))
	for name, given := range raw.Lists {
		if name == "" || len(name) > maxName {
			return matrix.InvalidParam("The name of a list has 1 to %d bytes.", maxName)
		}
		if given == nil {
			return matrix.BadJSON("The list %q must be an object.", name)
		}
		l, err := given.parse(r.User)
		if err != nil {
			return err
		}
		r.lists[name] = l
	}
	r.subscriptions = make(map[matrix.RoomID]*config, len(raw.Subscriptions))
	for id, given := range raw.Subscriptions {
		room, err := matrix.ParseRoomID(id)
		if err != nil {
			return matrix.InvalidParam("%.100q is no room ID.", id)
		}
		if given == nil {
			return matrix.BadJSON("The subscription to %s must be an object.", id)
		}
		if r.subscriptions[room], err = given.parse(r.User); err != nil {
			return err
		}
	}
	return nil
}

func (l *rawList) parse(user matrix.UserID) (*list, error) {
	c, err := l.rawConfig.parse(user)
	if err != nil {
		return nil, err
	}
	if err := l.Filters.check(); err != nil {
		return nil, err
	}
	ranges := l.Ranges
	if l.Range != nil {
		ranges = append(ranges[:len(ranges):len(ranges)], l.Range)
	}
	if len(ranges) > maxRanges {
		return nil, matrix.InvalidParam("A list has at most %d ranges.", maxRanges)
	}
	parsed := &list{config: c, filters: l.Filters}
	for _, r := range ranges {
		if len(r) != 2 || r[0] < 0 || r[1] < r[0] {
			return nil, matrix.InvalidParam("A range is two numbers, the first and the last place.")
		}
		parsed.ranges = append(parsed.ranges, [2]int{int(min(r[0], 1<<31)), int(min(r[1], 1<<31))})
	}
	return parsed, nil
}

func (c *rawConfig) parse(user matrix.UserID) (*config, error) {
	limit := int64(0)
	if c.TimelineLimit != nil {
		limit = *c.TimelineLimit
	}
	if limit < 0 {
		return nil, matrix.InvalidParam("timeline_limit is a number of events.")
	}
	required, err := parseRequired(c.RequiredState, user)
	if err != nil {
		return nil, err
	}
	return newConfig(int(min(limit, maxTimeline)), required), nil
}
