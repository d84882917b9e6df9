package serverapi

import (
	"bufio"
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// stateAPI is the states of rooms at their events, and what authorizes events
// (§ Retrieving events and § Retrieving event authorization information). States
// are written while they are read: they are as large as rooms.
type stateAPI struct{ rooms *rooms.Service }

func (a *stateAPI) routes() []api.Route {
	return []api.Route{
		api.Stream("GET", "/_matrix/federation/v1/state/{roomId}", api.OtherServer, a.state, perServer()),
		api.Endpoint("GET", "/_matrix/federation/v1/state_ids/{roomId}", api.OtherServer, a.stateIDs, perServer()),
		api.Stream("GET", "/_matrix/federation/v1/event_auth/{roomId}/{eventId}", api.OtherServer, a.chain, perServer()),
	}
}

type stateRequest struct {
	Room  matrix.RoomID  `path:"roomId"`
	Event matrix.EventID `query:"event_id" required:"true"`
}

func (a *stateAPI) state(w http.ResponseWriter, r *http.Request, who api.Caller, req *stateRequest) error {
	ctx := r.Context()
	past, err := a.rooms.Peer(who.Server).State(ctx, req.Room, req.Event)
	if err != nil {
		return err
	}
	out := newPartsWriter(w)
	out.list(`{"pdus":[`)
	if err := past.Events(ctx, out.tell); err != nil {
		return err
	}
	out.list(`],"auth_chain":[`)
	if err := past.Chain(ctx, out.tell); err != nil {
		return err
	}
	return out.end("]}")
}

type stateIDsResponse struct {
	State []matrix.EventID `json:"pdu_ids"`
	Chain []matrix.EventID `json:"auth_chain_ids"`
}

func (a *stateAPI) stateIDs(ctx context.Context, who api.Caller, req *stateRequest) (*stateIDsResponse, error) {
	past, err := a.rooms.Peer(who.Server).State(ctx, req.Room, req.Event)
	if err != nil {
		return nil, err
	}
	res := &stateIDsResponse{State: []matrix.EventID{}, Chain: []matrix.EventID{}}
	if err := past.Events(ctx, collect(&res.State)); err != nil {
		return nil, err
	}
	return res, past.Chain(ctx, collect(&res.Chain))
}

func collect(ids *[]matrix.EventID) func([]*matrix.Event) error {
	return func(part []*matrix.Event) error {
		for _, e := range part {
			*ids = append(*ids, e.ID)
		}
		return nil
	}
}

type chainRequest struct {
	Room  matrix.RoomID  `path:"roomId"`
	Event matrix.EventID `path:"eventId"`
}

func (a *stateAPI) chain(w http.ResponseWriter, r *http.Request, who api.Caller, req *chainRequest) error {
	out := newPartsWriter(w)
	out.list(`{"auth_chain":[`)
	if err := a.rooms.Peer(who.Server).Chain(r.Context(), req.Room, req.Event, out.tell); err != nil {
		return err
	}
	return out.end("]}")
}

// A partsWriter writes lists of events a part at a time. As long as the answer
// fits into its buffer, an error is answered as one.
type partsWriter struct {
	response http.ResponseWriter
	buffer   *bufio.Writer
	follows  bool // an event was written to the list
}

func newPartsWriter(w http.ResponseWriter) *partsWriter {
	p := &partsWriter{response: w}
	p.buffer = bufio.NewWriterSize(p, 32<<10)
	return p
}

// Write passes on what comes out of the buffer.
func (p *partsWriter) Write(data []byte) (int, error) {
	p.response.Header().Set("Content-Type", "application/json")
	return p.response.Write(data)
}

// list begins a list; text is what comes before its first event. What the buffer
// cannot write it says at the end.
func (p *partsWriter) list(text string) {
	p.follows = false
	_, _ = p.buffer.WriteString(text)
}

func (p *partsWriter) tell(part []*matrix.Event) error {
	for _, e := range part {
		if p.follows {
			_ = p.buffer.WriteByte(',')
		}
		p.follows = true
		if _, err := p.buffer.Write(e.JSON()); err != nil {
			return err
		}
	}
	return nil
}

func (p *partsWriter) end(text string) error {
	_, _ = p.buffer.WriteString(text)
	return p.buffer.Flush()
}
