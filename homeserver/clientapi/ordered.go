package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// orderedAPI is many events of a bridge's users in one request: what is said in a busy channel,
// and who comes into a large one.
type orderedAPI struct {
	rooms    *rooms.Service
	accounts *accounts.Service
}

const (
	// maxOrderedBody is less than what as many events may have, which are bounded one by one, too.
	maxOrderedBody = 4 << 20
	// registrationsAtOnce is how many users of one request are made at a time.
	registrationsAtOnce = 16
	// notTried is the code of steps behind the one that has ended a request.
	notTried = "ORG.TRESTLE.NOT_TRIED"
)

func (a *orderedAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/unstable/org.trestle.ordered/rooms/{roomId}/send", api.AppService, a.send,
			api.BodyLimit(maxOrderedBody)),
	}
}

type orderedRequest struct {
	Presented api.Credentials
	Room      matrix.RoomID  `path:"roomId"`
	Steps     []orderedStep  `json:"steps" required:"true"`
	Stop      bool           `json:"stop"`  // at the first step that is refused
	Known     matrix.EventID `json:"known"` // as in rooms.SendRequest
}

// An orderedStep is what would be a request of its own.
type orderedStep struct {
	Sender      matrix.UserID   `json:"sender"` // empty: the service's own user
	Device      matrix.DeviceID `json:"device_id"`
	Type        string          `json:"type"`
	StateKey    *string         `json:"state_key"`
	Content     json.RawMessage `json:"content"`
	Txn         string          `json:"txn_id"`
	TS          *int64          `json:"ts"`
	Register    bool            `json:"register"` // the sender, if there is no such user yet
	DisplayName string          `json:"displayname"`
}

type orderedResponse struct {
	Results []orderedResult `json:"results"`
}

// An orderedResult is what the step's own request would have been answered.
type orderedResult struct {
	EventID    matrix.EventID
	Registered bool
	Err        *matrix.Error
}

// MarshalJSON implements json.Marshaler.
func (r orderedResult) MarshalJSON() ([]byte, error) {
	answer := map[string]any{}
	if r.Registered {
		answer["registered"] = true
	}
	if r.Err == nil {
		answer["event_id"] = r.EventID
		return json.Marshal(answer)
	}
	for key, value := range r.Err.Extra {
		answer[key] = value
	}
	answer["errcode"], answer["error"], answer["status"] = r.Err.Code, r.Err.Message, r.Err.Status
	return json.Marshal(answer)
}

// Validate holds all steps to what the paths of their own requests could be.
func (r *orderedRequest) Validate() error {
	if len(r.Steps) > rooms.MaxSteps {
		return matrix.TooLarge("%d steps are more than the %d that a request may have.", len(r.Steps), rooms.MaxSteps)
	}
	for i := range r.Steps {
		if err := r.Steps[i].check(i); err != nil {
			return err
		}
	}
	return nil
}

func (s *orderedStep) check(i int) error {
	stateKey := ""
	if s.StateKey != nil {
		stateKey = *s.StateKey
	}
	for _, text := range []string{string(s.Sender), string(s.Device), s.Type, stateKey, s.Txn} {
		if strings.IndexByte(text, 0) >= 0 {
			return matrix.InvalidParam("Step %d has a character that is not allowed.", i)
		}
	}
	switch {
	case s.Type == "":
		return matrix.InvalidParam("Step %d has no type.", i)
	case s.StateKey == nil && s.Txn == "":
		return matrix.InvalidParam("Step %d has no txn_id, by which a repeat is known.", i)
	case len(s.Content) == 0 || s.Content[0] != '{':
		return matrix.BadJSON("Step %d has no content, an object.", i)
	}
	return nil
}

// request is what the step's own request would ask for.
func (s *orderedStep) request(who api.Caller, room matrix.RoomID, known matrix.EventID) (rooms.SendRequest, error) {
	ts, err := timestamp(who, s.TS)
	req := rooms.SendRequest{
		Room: room, Sender: who.UserID, AppService: who.AppService, Guest: who.Guest,
		Type: s.Type, StateKey: s.StateKey, Content: s.Content, Timestamp: ts, Known: known,
	}
	switch {
	case s.Txn == "":
	case s.StateKey == nil:
		req.TxnKey = rooms.TxnKey(who.DeviceID, s.Type, s.Txn)
	default:
		req.TxnKey = rooms.TxnKey(who.DeviceID, "state "+s.Type, s.Txn)
	}
	return req, err
}

func (a *orderedAPI) send(ctx context.Context, _ api.Caller, req *orderedRequest) (*orderedResponse, error) {
	results, err := a.register(ctx, req)
	if err != nil {
		return nil, err
	}
	steps, places, err := a.admit(ctx, req, results)
	if err != nil {
		return nil, err
	}
	sent, err := a.rooms.SendOrdered(ctx, req.Room, steps, req.Stop)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		switch {
		case i >= len(sent):
			results[place].Err = untried()
		case sent[i].Err != nil:
			if results[place].Err, err = refusal(sent[i].Err); err != nil {
				return nil, err
			}
		default:
			results[place].EventID = sent[i].ID
		}
	}
	return &orderedResponse{results}, nil
}

// register makes the users that steps ask for, before anything is sent: it does not show in the room.
// Some at a time, so that they are written together.
func (a *orderedAPI) register(ctx context.Context, req *orderedRequest) ([]orderedResult, error) {
	results := make([]orderedResult, len(req.Steps))
	service, err := a.accounts.AppService(req.Presented.Token)
	if err != nil {
		return nil, err
	}
	asked := map[matrix.UserID]bool{}
	failures := make([]error, len(req.Steps))
	slots := make(chan struct{}, registrationsAtOnce)
	var all sync.WaitGroup
	for i := range req.Steps {
		step := &req.Steps[i]
		if !step.Register || step.Sender == "" || asked[step.Sender] {
			continue
		}
		asked[step.Sender] = true
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			results[i].Registered, failures[i] = a.accounts.EnsureOwn(ctx, service, step.Sender, step.DisplayName)
		})
	}
	all.Wait()
	for i, err := range failures {
		if results[i].Err, err = refusal(err); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// admit is the steps that may be tried and their places in the request. Those that may not have their
// refusals among the results, and those behind one that ends the request, too.
func (a *orderedAPI) admit(ctx context.Context, req *orderedRequest, results []orderedResult) (steps []rooms.SendRequest, places []int, err error) {
	for i := range req.Steps {
		step := &req.Steps[i]
		var next rooms.SendRequest
		if results[i].Err == nil {
			who, err := api.As(ctx, step.Sender, step.Device, "send")
			if err == nil {
				next, err = step.request(who, req.Room, req.Known)
			}
			if results[i].Err, err = refusal(err); err != nil {
				return nil, nil, err
			}
		}
		refused := results[i].Err
		if refused == nil {
			steps, places = append(steps, next), append(places, i)
			continue
		}
		if req.Stop || rooms.Halts(refused) {
			for behind := i + 1; behind < len(results); behind++ {
				results[behind].Err = untried()
			}
			break
		}
	}
	return steps, places, nil
}

func untried() *matrix.Error {
	return matrix.NewError(http.StatusConflict, notTried, "An event before this one has to be seen to first.")
}

// refusal is an error that belongs to a step; others are the request's.
func refusal(err error) (*matrix.Error, error) {
	var refused *matrix.Error
	if err == nil || errors.As(err, &refused) {
		return refused, nil
	}
	return nil, err
}
