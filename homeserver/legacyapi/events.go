package legacyapi

import (
	"encoding/json"
	"net/http"

	"trestle/internal/matrix"
)

// The ends of every stream.
const (
	first = "START"
	last  = "END"
)

// badPagination is the error of its own that wrong pages had.
func badPagination(format string, args ...any) error {
	return matrix.NewError(http.StatusBadRequest, "M_BAD_PAGINATION", format, args...)
}

const (
	usualPage = 10
	maxPage   = 1000
)

func pageSize(limit *int64) (int, error) {
	if limit == nil {
		return usualPage, nil
	}
	if *limit < 0 {
		return 0, badPagination("limit is a number of events.")
	}
	return int(min(*limit, maxPage)), nil
}

// lifted is what stood beside the content before there was unsigned.
var lifted = []string{"age", "prev_content", "replaces_state", "redacted_because"}

// oldEvent gives an event the shape of then: who sent it is user_id, and what
// the server adds stands beside the content. Names of today stay as well.
func oldEvent(event json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(event, &members); err != nil {
		return nil, err
	}
	if sender, ok := members["sender"]; ok {
		members["user_id"] = sender
	}
	var unsigned map[string]json.RawMessage
	if raw, ok := members["unsigned"]; ok {
		if err := json.Unmarshal(raw, &unsigned); err != nil {
			return nil, err
		}
	}
	for _, name := range lifted {
		value, ok := unsigned[name]
		if !ok {
			continue
		}
		if name == "redacted_because" {
			var err error
			if value, err = oldEvent(value); err != nil {
				return nil, err
			}
		}
		members[name] = value
	}
	return json.Marshal(members)
}

func oldEvents(events []json.RawMessage) ([]json.RawMessage, error) {
	list := make([]json.RawMessage, len(events))
	for i, event := range events {
		var err error
		if list[i], err = oldEvent(event); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// oldPresence puts the user into the content of m.presence, where then it stood.
func oldPresence(events []json.RawMessage) ([]json.RawMessage, error) {
	list := make([]json.RawMessage, len(events))
	for i, event := range events {
		var members map[string]json.RawMessage
		var kind string
		if err := json.Unmarshal(event, &members); err != nil {
			return nil, err
		}
		if json.Unmarshal(members["type"], &kind) != nil || kind != "m.presence" {
			list[i] = event
			continue
		}
		var content map[string]json.RawMessage
		if err := json.Unmarshal(members["content"], &content); err != nil {
			return nil, err
		}
		if content == nil {
			content = map[string]json.RawMessage{}
		}
		content["user_id"] = members["sender"]
		var err error
		if members["content"], err = json.Marshal(content); err != nil {
			return nil, err
		}
		if list[i], err = json.Marshal(members); err != nil {
			return nil, err
		}
	}
	return list, nil
}
