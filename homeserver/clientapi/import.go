package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// importAPI is what bridges put messages from before their time into rooms by:
// batch_send, as the bridges of Beeper ask for it.
type importAPI struct {
	rooms     *rooms.Service
	accounts  *accounts.Service
	ephemeral *ephemeral.Service
}

// maxImportBody bounds a batch; its events are bounded one by one, too.
const maxImportBody = 16 << 20

func (a *importAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/unstable/com.beeper.backfill/rooms/{roomId}/batch_send", api.AppService, a.batchSend,
			api.BodyLimit(maxImportBody), api.Limit("send")),
	}
}

type batchSendRequest struct {
	Room                matrix.RoomID   `path:"roomId"`
	ForwardIfNoMessages bool            `json:"forward_if_no_messages"`
	Forward             bool            `json:"forward"`
	SendNotification    bool            `json:"send_notification"`
	MarkReadBy          matrix.UserID   `json:"mark_read_by"`
	Events              []importedEvent `json:"events" required:"true"`

	// Of MSC2716, whose batches begin with who was in the room.
	StateAtStart []json.RawMessage `json:"state_events_at_start"`
}

type importedEvent struct {
	ID        matrix.EventID  `json:"event_id"`
	Room      matrix.RoomID   `json:"room_id"`
	Sender    matrix.UserID   `json:"sender"`
	Type      string          `json:"type"`
	StateKey  *string         `json:"state_key"`
	Timestamp int64           `json:"origin_server_ts"`
	Content   json.RawMessage `json:"content"`
}

type batchSendResponse struct {
	EventIDs []matrix.EventID `json:"event_ids"`
}

func (a *importAPI) batchSend(ctx context.Context, who api.Caller, req *batchSendRequest) (*batchSendResponse, error) {
	if len(req.StateAtStart) > 0 {
		return nil, matrix.InvalidParam("State cannot be imported, and need not be: ghosts have said what they said without it. Leave state_events_at_start out.")
	}
	ghosts, err := a.senders(ctx, who.AppService, req.Events)
	if err != nil {
		return nil, err
	}
	wanted := rooms.ImportRequest{
		Room: req.Room, By: who.UserID, Forward: req.Forward, ForwardIfEmpty: req.ForwardIfNoMessages, Notify: req.SendNotification,
		Ghost: func(user matrix.UserID) bool { return ghosts[user] },
	}
	for _, e := range req.Events {
		imported, err := e.imported(req.Room)
		if err != nil {
			return nil, err
		}
		wanted.Events = append(wanted.Events, imported)
	}
	done, err := a.rooms.Import(ctx, wanted)
	if err != nil {
		return nil, err
	}
	if done.Forward && len(done.IDs) > 0 && req.MarkReadBy != "" {
		err = a.markRead(ctx, who, req, done.IDs[len(done.IDs)-1])
	}
	return &batchSendResponse{append([]matrix.EventID{}, done.IDs...)}, err
}

// senders is which of those who said something are the service's own users;
// M_FORBIDDEN if it may not act as one of them.
func (a *importAPI) senders(ctx context.Context, service string, events []importedEvent) (map[matrix.UserID]bool, error) {
	own := map[matrix.UserID]bool{}
	for _, e := range events {
		if _, known := own[e.Sender]; known {
			continue
		}
		var err error
		if own[e.Sender], err = a.accounts.ActsAs(ctx, service, e.Sender); err != nil {
			return nil, err
		}
	}
	return own, nil
}

func (e *importedEvent) imported(room matrix.RoomID) (rooms.ImportedEvent, error) {
	if e.ID != "" {
		if _, err := matrix.ParseEventID(string(e.ID)); err != nil {
			return rooms.ImportedEvent{}, matrix.InvalidParam("%v.", err)
		}
	}
	switch {
	case e.StateKey != nil:
		return rooms.ImportedEvent{}, matrix.InvalidParam("State cannot be imported: %s has a state_key.", e.Type)
	case e.Room != "" && e.Room != room:
		return rooms.ImportedEvent{}, matrix.InvalidParam("An event is for room %s.", e.Room)
	case e.Content == nil:
		return rooms.ImportedEvent{}, matrix.BadJSON("An event has no content.")
	}
	return rooms.ImportedEvent{ID: e.ID, Sender: e.Sender, Type: e.Type, Content: e.Content, Timestamp: e.Timestamp}, nil
}

// markRead moves the receipt of a user in the room whom the service may act
// as. For others nothing is left to do: what is not to be marked for them has
// not been counted as unread either, unless notifications were asked for.
func (a *importAPI) markRead(ctx context.Context, who api.Caller, req *batchSendRequest, last matrix.EventID) error {
	if _, err := a.accounts.ActsAs(ctx, who.AppService, req.MarkReadBy); err != nil {
		return ignoring(err)
	}
	joined, err := a.rooms.Joined(ctx, req.Room, req.MarkReadBy)
	if err != nil || !joined {
		return err
	}
	return a.ephemeral.Mark(ctx, req.MarkReadBy, req.Room, []ephemeral.Mark{{Type: ephemeral.Read, Event: last}})
}

// ignoring is nil for a refusal, which is no reason to fail what is done already.
func ignoring(err error) error {
	if matrix.Code(err) != "" {
		return nil
	}
	return err
}
