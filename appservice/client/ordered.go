package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// MaxSteps is how many events one ordered request may have.
const MaxSteps = 100

// orderedFeature is by what a homeserver says that it takes ordered requests, as Trestle does.
const orderedFeature = "org.trestle.ordered"

// A Step is one event of an ordered request.
type Step struct {
	Sender        matrix.UserID // empty: the service's own user
	Type          string
	StateKey      *string // nil for a message
	Content       any     // anything that encodes to an object
	TransactionID string  // as in [Message]; may be empty for state
	Time          int64   // milliseconds; 0 is now
	// Register makes the sender, with DisplayName, if there is no such user.
	Register    bool
	DisplayName string
}

// A StepResult is what became of a step.
type StepResult struct {
	Event      matrix.EventID
	Registered bool  // the sender was made
	Err        error // as of a request of its own; nil if the event is in the room
}

// An Ordered is what is sent in one request.
type Ordered struct {
	Room  matrix.RoomID
	Steps []Step // up to [MaxSteps]
	Stop  bool   // nothing behind a step that is refused is tried
	Known matrix.EventID
}

// ordering is what is known of the homeserver.
type ordering struct {
	mu      sync.Mutex
	asked   bool
	offered bool
}

// Orders tells whether the homeserver takes ordered requests. It is asked once.
func (c *Client) Orders(ctx context.Context) bool {
	c.ordering.mu.Lock()
	defer c.ordering.mu.Unlock()
	if c.ordering.asked {
		return c.ordering.offered
	}
	versions, err := c.Bot().api.Versions(ctx)
	if err != nil {
		return false // this time
	}
	c.ordering.asked, c.ordering.offered = true, versions.UnstableFeatures[orderedFeature]
	return c.ordering.offered
}

// disorder notes that it does not, whatever it said.
func (c *Client) disorder() {
	c.ordering.mu.Lock()
	defer c.ordering.mu.Unlock()
	c.ordering.asked, c.ordering.offered = true, false
}

type orderedStep struct {
	Sender        matrix.UserID `json:"sender,omitempty"`
	Type          string        `json:"type"`
	StateKey      *string       `json:"state_key,omitempty"`
	Content       any           `json:"content"`
	TransactionID string        `json:"txn_id,omitempty"`
	Time          int64         `json:"ts,omitempty"`
	Register      bool          `json:"register,omitempty"`
	DisplayName   string        `json:"displayname,omitempty"`
}

type orderedRequest struct {
	Steps []orderedStep  `json:"steps"`
	Stop  bool           `json:"stop,omitempty"`
	Known matrix.EventID `json:"known,omitempty"`
}

type orderedResult struct {
	EventID    matrix.EventID `json:"event_id"`
	Registered bool           `json:"registered"`
	Status     int            `json:"status"`
}

// SendOrdered sends steps in one request, which is one attempt: an error says nothing about what is in
// the room, and a repeat finds what is. Each step has its result.
func (c *Client) SendOrdered(ctx context.Context, o Ordered) ([]StepResult, error) {
	body := orderedRequest{Steps: make([]orderedStep, len(o.Steps)), Stop: o.Stop, Known: o.Known}
	for i, s := range o.Steps {
		body.Steps[i] = orderedStep(s)
	}
	api := c.Bot().api
	var answer struct {
		Results []json.RawMessage `json:"results"`
	}
	path := mautrix.ClientURLPath{"unstable", orderedFeature, "rooms", id.RoomID(o.Room), "send"}
	if _, err := api.MakeRequest(ctx, http.MethodPost, api.BuildClientURL(path...), body, &answer); err != nil {
		if Is(err, "M_UNRECOGNIZED") {
			c.disorder()
		}
		return nil, err
	}
	if len(answer.Results) != len(o.Steps) {
		return nil, fmt.Errorf("the homeserver answers %d steps of %d", len(answer.Results), len(o.Steps))
	}
	results := make([]StepResult, len(o.Steps))
	for i, raw := range answer.Results {
		var err error
		if results[i], err = stepResult(raw); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// stepResult gives a refusal the form of that of a request of its own, for [Is] and [Temporary].
func stepResult(raw json.RawMessage) (StepResult, error) {
	var r orderedResult
	if err := json.Unmarshal(raw, &r); err != nil {
		return StepResult{}, fmt.Errorf("result of a step: %w", err)
	}
	result := StepResult{Event: r.EventID, Registered: r.Registered}
	if r.EventID != "" {
		return result, nil
	}
	var refused mautrix.RespError
	if err := json.Unmarshal(raw, &refused); err != nil {
		return StepResult{}, fmt.Errorf("result of a step: %w", err)
	}
	result.Err = mautrix.HTTPError{Response: &http.Response{StatusCode: r.Status}, RespError: &refused}
	return result, nil
}
