package federation

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// A PublicRooms is a page of a directory, as servers and clients are told it.
type PublicRooms struct {
	Chunk []PublicRoom `json:"chunk"`
	Next  string       `json:"next_batch,omitempty"`
	Prev  string       `json:"prev_batch,omitempty"`
	Total int64        `json:"total_room_count_estimate"`
}

// A PublicRoom is a room in a directory.
type PublicRoom struct {
	RoomID         matrix.RoomID `json:"room_id"`
	Name           string        `json:"name,omitempty"`
	Topic          string        `json:"topic,omitempty"`
	AvatarURL      string        `json:"avatar_url,omitempty"`
	CanonicalAlias string        `json:"canonical_alias,omitempty"`
	JoinRule       string        `json:"join_rule"`
	RoomType       string        `json:"room_type,omitempty"`
	Members        int64         `json:"num_joined_members"`
	WorldReadable  bool          `json:"world_readable"`
	GuestCanJoin   bool          `json:"guest_can_join"`
}

// NewPublicRooms is a page of this server's directory.
func NewPublicRooms(page *rooms.PublicRooms) *PublicRooms {
	p := &PublicRooms{Chunk: make([]PublicRoom, len(page.Rooms)), Next: page.Next, Prev: page.Prev, Total: page.Total}
	for i, room := range page.Rooms {
		p.Chunk[i] = NewPublicRoom(room.Summary)
	}
	return p
}

// NewPublicRoom is a room as everybody may know it.
func NewPublicRoom(r rooms.Summary) PublicRoom {
	return PublicRoom{
		RoomID: r.RoomID, Name: r.Name, Topic: r.Topic, AvatarURL: r.AvatarURL, CanonicalAlias: r.CanonicalAlias,
		JoinRule: r.JoinRule, RoomType: r.Type, Members: r.JoinedMembers, WorldReadable: r.WorldReadable, GuestCanJoin: r.GuestsCanJoin,
	}
}

const (
	maxDirectory = 4 << 20 // bytes of a page of another server's directory
	maxListed    = 1000    // rooms on it
	maxName      = 1024    // bytes of names and the like
	maxTopic     = 16 << 10
	maxToken     = 4 << 10
)

// publicRoomsFilter is the body of the search.
type publicRoomsFilter struct {
	Limit  int    `json:"limit,omitempty"`
	Since  string `json:"since,omitempty"`
	Filter struct {
		Search    string    `json:"generic_search_term,omitempty"`
		RoomTypes []*string `json:"room_types,omitempty"`
	} `json:"filter"`
	AllNetworks bool   `json:"include_all_networks,omitempty"`
	Network     string `json:"third_party_instance_id,omitempty"`
}

// PublicRooms is a page of another server's directory (Server-Server API § Published Room Directory).
func (r *Remote) PublicRooms(ctx context.Context, server matrix.ServerName, q rooms.PublicRoomsQuery) (*PublicRooms, error) {
	const uri = "/_matrix/federation/v1/publicRooms"
	request := Request{To: server, Method: http.MethodGet, Limit: maxDirectory}
	if q.Search != "" || q.RoomTypes != nil {
		body := publicRoomsFilter{Limit: q.Limit, Since: q.Since, AllNetworks: q.AllNetworks, Network: q.Network}
		body.Filter.Search = q.Search
		for _, typ := range q.RoomTypes {
			if typ == "" {
				body.Filter.RoomTypes = append(body.Filter.RoomTypes, nil)
			} else {
				body.Filter.RoomTypes = append(body.Filter.RoomTypes, &typ)
			}
		}
		request.Method, request.URI, request.Content = http.MethodPost, uri, body
	} else {
		query := url.Values{}
		if q.Limit > 0 {
			query.Set("limit", strconv.Itoa(q.Limit))
		}
		if q.Since != "" {
			query.Set("since", q.Since)
		}
		if q.AllNetworks {
			query.Set("include_all_networks", "true")
		} else if q.Network != "" {
			query.Set("third_party_instance_id", q.Network)
		}
		request.URI = uri
		if len(query) > 0 {
			request.URI += "?" + query.Encode()
		}
	}
	var page PublicRooms
	if err := r.client.JSON(ctx, request, &page); err != nil {
		return nil, forUser(server, err, "M_NOT_FOUND", "M_FORBIDDEN", "M_INVALID_PARAM")
	}
	page.clean()
	return &page, nil
}

// clean leaves what can be shown of a page that a stranger has written.
func (p *PublicRooms) clean() {
	listed := make([]PublicRoom, 0, min(len(p.Chunk), maxListed))
	for _, room := range p.Chunk {
		if len(listed) == maxListed {
			break
		}
		if _, err := matrix.ParseRoomID(string(room.RoomID)); err != nil {
			continue
		}
		room.clean()
		listed = append(listed, room)
	}
	p.Chunk, p.Total = listed, max(p.Total, int64(len(listed)))
	for _, token := range []*string{&p.Next, &p.Prev} {
		if len(*token) > maxToken {
			*token = ""
		}
	}
}

func (r *PublicRoom) clean() {
	r.Name, r.Topic = clipped(r.Name, maxName), clipped(r.Topic, maxTopic)
	if _, err := matrix.ParseRoomAlias(r.CanonicalAlias); err != nil {
		r.CanonicalAlias = ""
	}
	if !strings.HasPrefix(r.AvatarURL, "mxc://") || len(r.AvatarURL) > maxName {
		r.AvatarURL = ""
	}
	if r.JoinRule = clipped(r.JoinRule, matrix.MaxIDLength); r.JoinRule == "" {
		r.JoinRule = "public"
	}
	r.RoomType, r.Members = clipped(r.RoomType, matrix.MaxIDLength), max(r.Members, 0)
}

// clipped is a text of at most so many bytes, cut between characters.
func clipped(text string, most int) string {
	text = strings.ReplaceAll(text, "\x00", "")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
