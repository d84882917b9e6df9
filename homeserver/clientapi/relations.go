package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// relationsAPI is how events relate to each other.
type relationsAPI struct {
	relations *relations.Service
}

func (a *relationsAPI) routes() []api.Route {
	const room = "/rooms/{roomId}"
	const events = room + "/relations/{eventId}"
	old := func(path string) api.Option { return api.Aliases("/_matrix/client/unstable" + path) }
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v1"+events, api.Guest, a.relating, old(events)),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1"+events+"/{relType}", api.Guest, a.relatingByType, old(events+"/{relType}")),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1"+events+"/{relType}/{eventType}", api.Guest, a.relatingByTypes, old(events+"/{relType}/{eventType}")),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1"+room+"/threads", api.Guest, a.threads,
			api.Aliases("/_matrix/client/unstable/org.matrix.msc3856"+room+"/threads")),
	}
}

type relationsRequest struct {
	Room    matrix.RoomID  `path:"roomId"`
	Event   matrix.EventID `path:"eventId"`
	From    string         `query:"from"`
	To      string         `query:"to"`
	Dir     string         `query:"dir"`
	Limit   *int64         `query:"limit"`
	Recurse *bool          `query:"recurse"`
	// MSC3981's name, from before it was in the specification.
	ProposedRecurse *bool `query:"org.matrix.msc3981.recurse"`
}

func (r *relationsRequest) Validate() error {
	switch r.Dir {
	case "", "b", "f":
	default:
		return matrix.InvalidParam("dir is b for backwards or f for forwards.")
	}
	return checkLimit(r.Limit)
}

type relationsByTypeRequest struct {
	relationsRequest
	RelType string `path:"relType"`
}

type relationsByTypesRequest struct {
	relationsRequest
	RelType string `path:"relType"`
	Type    string `path:"eventType"`
}

type relationsResponse struct {
	Chunk          []json.RawMessage `json:"chunk"`
	Next           string            `json:"next_batch,omitempty"`
	Prev           string            `json:"prev_batch,omitempty"`
	RecursionDepth *int              `json:"recursion_depth,omitempty"`
}

func (a *relationsAPI) relating(ctx context.Context, who api.Caller, req *relationsRequest) (*relationsResponse, error) {
	return a.children(ctx, who, req, "", "")
}

func (a *relationsAPI) relatingByType(ctx context.Context, who api.Caller, req *relationsByTypeRequest) (*relationsResponse, error) {
	return a.children(ctx, who, &req.relationsRequest, req.RelType, "")
}

func (a *relationsAPI) relatingByTypes(ctx context.Context, who api.Caller, req *relationsByTypesRequest) (*relationsResponse, error) {
	return a.children(ctx, who, &req.relationsRequest, req.RelType, req.Type)
}

func (a *relationsAPI) children(ctx context.Context, who api.Caller, req *relationsRequest, relType, eventType string) (*relationsResponse, error) {
	recurse := req.Recurse
	if recurse == nil {
		recurse = req.ProposedRecurse
	}
	wanted := relations.ChildRequest{
		Reader: rooms.Reader{User: who.UserID, Device: who.DeviceID}, Room: req.Room, Event: req.Event,
		RelType: relType, Type: eventType, Forward: req.Dir == "f", Limit: pageSize(req.Limit), Recurse: recurse != nil && *recurse,
	}
	var err error
	if wanted.From, err = place(req.From); err != nil {
		return nil, err
	}
	if wanted.To, err = place(req.To); err != nil {
		return nil, err
	}
	page, err := a.relations.Children(ctx, wanted)
	if err != nil {
		return nil, err
	}
	res := &relationsResponse{Chunk: page.Chunk, Next: nextToken(page), Prev: req.From}
	if recurse != nil {
		depth := 1
		if *recurse {
			depth = relations.Depth
		}
		res.RecursionDepth = &depth
	}
	return res, nil
}

// place is the place that a token stands for; nil without one.
func place(token string) (*int64, error) {
	if token == "" {
		return nil, nil
	}
	t, err := syncer.ParseToken(token)
	return &t.Position, err
}

func nextToken(page *relations.Page) string {
	if page.Next == nil {
		return ""
	}
	return syncer.Token{Position: *page.Next}.String()
}

type threadsRequest struct {
	Room    matrix.RoomID `path:"roomId"`
	Include string        `query:"include"`
	From    string        `query:"from"`
	Limit   *int64        `query:"limit"`
}

func (r *threadsRequest) Validate() error {
	switch r.Include {
	case "", "all", "participated":
	default:
		return matrix.InvalidParam("include is all or participated.")
	}
	if r.Limit != nil && *r.Limit < 1 {
		return matrix.InvalidParam("limit is a number of threads, at least 1.")
	}
	return nil
}

type threadsResponse struct {
	Chunk []json.RawMessage `json:"chunk"`
	Next  string            `json:"next_batch,omitempty"`
}

func (a *relationsAPI) threads(ctx context.Context, who api.Caller, req *threadsRequest) (*threadsResponse, error) {
	wanted := relations.ThreadRequest{
		Reader: rooms.Reader{User: who.UserID, Device: who.DeviceID}, Room: req.Room,
		Participated: req.Include == "participated", Limit: pageSize(req.Limit),
	}
	var err error
	if wanted.From, err = place(req.From); err != nil {
		return nil, err
	}
	page, err := a.relations.Threads(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return &threadsResponse{page.Chunk, nextToken(page)}, nil
}
