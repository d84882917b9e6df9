package federation

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

const (
	// maxTemplate is how many bytes the answer with a template may have.
	maxTemplate = 256 << 10
	// An event refers to so many others (Room Versions § Event format).
	maxPrevEvents = 20
	maxAuthEvents = 10
	// oldestVersion is that of a server that does not say which version a room has.
	oldestVersion = "1"
)

// A Template is what an event has to be like to get into a room, or out of it, as far as a server in it knows: its place in the room.
type Template struct {
	Version *roomversion.Version
	// Event has the room, its user as sender and state key, the membership in its content, the time of this server,
	// and from the other server depth, prev_events, auth_events, and join_authorised_via_users_server, one of its own users.
	Event matrix.EventTemplate
}

// MakeJoin asks for what is needed to join a room (Server-Server API § Joining Rooms). versions are the room versions that
// would do; nil: those that are supported here. M_INCOMPATIBLE_ROOM_VERSION is for rooms of other versions, whether the other server says so or not.
func (p *Peers) MakeJoin(ctx context.Context, server matrix.ServerName, room matrix.RoomID, user matrix.UserID, versions []string) (*Template, error) {
	return p.template(ctx, wanted{server: server, room: room, user: user, membership: "join", versions: versions})
}

// MakeKnock asks for what is needed to knock (Server-Server API § Knocking upon a room); see [Peers.MakeJoin].
func (p *Peers) MakeKnock(ctx context.Context, server matrix.ServerName, room matrix.RoomID, user matrix.UserID, versions []string) (*Template, error) {
	return p.template(ctx, wanted{server: server, room: room, user: user, membership: "knock", versions: versions})
}

// MakeLeave asks for what is needed to leave a room, to reject an invite to it, or to take back a knock (Server-Server API § Leaving Rooms).
// The other server is not told versions, but the room has to have one of them.
func (p *Peers) MakeLeave(ctx context.Context, server matrix.ServerName, room matrix.RoomID, user matrix.UserID, versions []string) (*Template, error) {
	return p.template(ctx, wanted{server: server, room: room, user: user, membership: "leave", versions: versions})
}

// wanted is which template is asked for.
type wanted struct {
	server     matrix.ServerName
	room       matrix.RoomID
	user       matrix.UserID
	membership string
	versions   []string
}

func (p *Peers) template(ctx context.Context, w wanted) (*Template, error) {
	if len(w.versions) == 0 {
		w.versions = supportedVersions()
	}
	r := Request{
		To: w.server, Method: http.MethodGet, Limit: maxTemplate,
		URI: uri(federationV1, "make_"+w.membership, string(w.room), string(w.user)),
	}
	if w.membership != "leave" {
		r.URI += "?" + url.Values{"ver": w.versions}.Encode()
	}
	raw, err := p.client.Bytes(ctx, r)
	if err != nil {
		return nil, err
	}
	t, err := parseTemplate(raw, w)
	if err != nil {
		return nil, err
	}
	t.Event.OriginServerTS = p.client.options.Now().UnixMilli()
	return t, nil
}

// supportedVersions are the room versions in which this server takes part.
func supportedVersions() []string {
	var ids []string
	for _, v := range roomversion.All() {
		if v.Supported() {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// proposed is an event as another server proposes it.
type proposed struct {
	RoomID     matrix.RoomID     `json:"room_id"`
	Sender     matrix.UserID     `json:"sender"`
	Type       string            `json:"type"`
	StateKey   *string           `json:"state_key"`
	Depth      int64             `json:"depth"`
	PrevEvents []json.RawMessage `json:"prev_events"`
	AuthEvents []json.RawMessage `json:"auth_events"`
	Content    struct {
		Membership string          `json:"membership"`
		Authorised json.RawMessage `json:"join_authorised_via_users_server"`
	} `json:"content"`
}

// parseTemplate takes from an answer what has to come from there, if it is what was asked for.
func parseTemplate(raw []byte, w wanted) (*Template, error) {
	wrong := func(format string, args ...any) (*Template, error) {
		return nil, fmt.Errorf("%w: %s proposes to %s: %s", ErrAnswer, w.server, w.membership, fmt.Sprintf(format, args...))
	}
	canonical, err := matrix.CanonicalJSON(raw)
	if err != nil {
		return wrong("%v", err)
	}
	var said struct {
		Version *string   `json:"room_version"`
		Event   *proposed `json:"event"`
	}
	if err := json.Unmarshal(canonical, &said); err != nil {
		return wrong("%v", err)
	}
	id := oldestVersion
	if said.Version != nil {
		id = *said.Version
	}
	version, known := roomversion.Lookup(id)
	e := said.Event
	switch {
	case len(id) > maxVersion:
		return wrong("its room version has %d bytes", len(id))
	case !known || !version.Supported() || !slices.Contains(w.versions, id):
		return nil, incompatible(id)
	case e == nil:
		return wrong("no event")
	case e.Type != "m.room.member" || e.RoomID != w.room || e.Sender != w.user || e.StateKey == nil || *e.StateKey != string(w.user):
		return wrong("another event")
	case e.Content.Membership != w.membership:
		return wrong("another membership")
	case e.Depth < 0:
		return wrong("a negative depth")
	}
	t := &Template{Version: version, Event: matrix.EventTemplate{
		RoomID: w.room, Sender: w.user, Type: e.Type, StateKey: e.StateKey, Depth: e.Depth,
	}}
	if err := t.refer(e); err != nil {
		return wrong("%v", err)
	}
	content := map[string]string{"membership": w.membership}
	if w.membership == "join" && version.Restricted && len(e.Content.Authorised) > 0 {
		by, err := authorising(e.Content.Authorised, w.server)
		if err != nil {
			return wrong("%v", err)
		}
		content["join_authorised_via_users_server"] = string(by)
	}
	if t.Event.Content, err = matrix.MarshalCanonical(content); err != nil {
		return nil, err
	}
	return t, nil
}

// authorising is the user who lets somebody join a restricted room: one of the server that was asked, which has to sign that.
func authorising(raw json.RawMessage, server matrix.ServerName) (matrix.UserID, error) {
	var said string
	if err := json.Unmarshal(raw, &said); err != nil {
		return "", err
	}
	by, err := matrix.ParseUserID(said)
	if err != nil {
		return "", err
	}
	if by.Server() != server {
		return "", fmt.Errorf("%s cannot sign for %s", server, by)
	}
	return by, nil
}

// refer sets the events that come before a proposed one, and those that allow it.
func (t *Template) refer(e *proposed) (err error) {
	if t.Event.PrevEvents, err = t.references(e.PrevEvents, maxPrevEvents); err != nil {
		return fmt.Errorf("prev_events: %w", err)
	}
	if len(t.Event.PrevEvents) == 0 {
		return errors.New("no prev_events")
	}
	if t.Event.AuthEvents, err = t.references(e.AuthEvents, maxAuthEvents); err != nil {
		return fmt.Errorf("auth_events: %w", err)
	}
	return nil
}

// references are event IDs. Room versions 1 and 2 have pairs of them with hashes; the hashes, which nobody checks, may be missing.
func (t *Template) references(raw []json.RawMessage, most int) ([]matrix.EventID, error) {
	if len(raw) > most {
		return nil, fmt.Errorf("%d events", len(raw))
	}
	ids := make([]matrix.EventID, 0, len(raw))
	for _, reference := range raw {
		hash := json.RawMessage(nil)
		if t.Version.HashedReferences && reference[0] == '[' {
			var pair []json.RawMessage
			if err := json.Unmarshal(reference, &pair); err != nil || len(pair) == 0 || len(pair) > 2 {
				return nil, fmt.Errorf("%.100s is no reference", reference)
			}
			if reference = pair[0]; len(pair) == 2 {
				hash = pair[1]
			}
		}
		var text string
		if err := json.Unmarshal(reference, &text); err != nil {
			return nil, err
		}
		id, err := matrix.ParseEventID(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(ids, id) {
			return nil, fmt.Errorf("%s twice", id)
		}
		t.remember(id, hash)
		ids = append(ids, id)
	}
	return ids, nil
}

// remember keeps the reference hash of an event, if it came. Some servers have made-up ones, which nobody minds.
func (t *Template) remember(id matrix.EventID, hashes json.RawMessage) {
	var said struct {
		SHA256 string `json:"sha256"`
	}
	if json.Unmarshal(hashes, &said) != nil {
		return
	}
	hash, err := matrix.DecodeBase64(said.SHA256)
	if err != nil || len(hash) != sha256.Size {
		return
	}
	if t.Event.ReferenceHashes == nil {
		t.Event.ReferenceHashes = map[matrix.EventID][sha256.Size]byte{}
	}
	t.Event.ReferenceHashes[id] = [sha256.Size]byte(hash)
}
