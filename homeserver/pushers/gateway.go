package pushers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"trestle/internal/matrix"
)

// maxAnswer is how much of a gateway's answer is read, in bytes.
const maxAnswer = 64 << 10

// A push is the body of POST /_matrix/push/v1/notify.
type push struct {
	Notification notification `json:"notification"`
}

type notification struct {
	EventID           matrix.EventID  `json:"event_id,omitempty"`
	RoomID            matrix.RoomID   `json:"room_id,omitempty"`
	Type              string          `json:"type,omitempty"`
	Sender            matrix.UserID   `json:"sender,omitempty"`
	SenderDisplayName string          `json:"sender_display_name,omitempty"`
	RoomName          string          `json:"room_name,omitempty"`
	RoomAlias         string          `json:"room_alias,omitempty"`
	Membership        string          `json:"membership,omitempty"`
	UserIsTarget      bool            `json:"user_is_target,omitempty"`
	Priority          string          `json:"prio,omitempty"`
	Content           json.RawMessage `json:"content,omitempty"`
	Counts            *counts         `json:"counts,omitempty"`
	Devices           []device        `json:"devices"`
}

// counts has the unread notifications; a pointer, because a zero says
// something where there is nothing else.
type counts struct {
	Unread *int64 `json:"unread,omitempty"`
}

type device struct {
	AppID   string                     `json:"app_id"`
	Key     string                     `json:"pushkey"`
	KeyTime int64                      `json:"pushkey_ts,omitempty"` // Unix seconds
	Data    json.RawMessage            `json:"data,omitempty"`
	Tweaks  map[string]json.RawMessage `json:"tweaks,omitempty"`
}

// errUnreachable is wrapped by the errors of gateways that give no answer at
// all.
var errUnreachable = errors.New("the push gateway does not answer")

// A statusError is an answer of a gateway that it could not take a push.
type statusError struct {
	status     int
	retryAfter time.Duration // 0: it does not say
}

// Error says what the gateway answered.
func (e *statusError) Error() string {
	return fmt.Sprintf("the push gateway answered %d", e.status)
}

// post hands a push over. rejected are keys that the gateway does not want to
// hear of again.
func (s *Service) post(ctx context.Context, to string, n notification) (rejected []string, err error) {
	body, err := json.Marshal(push{n})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Trestle")
	began := time.Now()
	response, err := s.options.Client.Do(request)
	s.metrics.seconds.Observe(time.Since(began).Seconds())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // so that the connection can be used again
		return nil, &statusError{response.StatusCode, retryAfter(response.Header.Get("Retry-After"))}
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return parseAnswer(answer), nil
}

// parseAnswer is the keys that an answer rejects. The gateway has taken the
// push in any case, so that nonsense rejects none.
func parseAnswer(body []byte) []string {
	var answer struct {
		Rejected json.RawMessage `json:"rejected"`
	}
	var keys []json.RawMessage
	if json.Unmarshal(body, &answer) != nil || json.Unmarshal(answer.Rejected, &keys) != nil {
		return nil
	}
	var list []string
	for _, raw := range keys {
		var key string
		if json.Unmarshal(raw, &key) == nil && key != "" && len(key) <= maxKey {
			list = append(list, key)
		}
	}
	return list
}

// retryAfter reads a number of seconds; dates are as good as nothing here,
// because whose clock is right is not known.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseUint(header, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
