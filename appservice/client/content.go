package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// Event reads an event of a room that the user is in. One that was redacted comes without its
// content.
func (u *User) Event(ctx context.Context, room matrix.RoomID, eventID matrix.EventID) (*event.Event, error) {
	e, err := u.api.GetEvent(ctx, id.RoomID(room), id.EventID(eventID))
	if err != nil {
		return nil, err
	}
	e.Type.Class = event.MessageEventType
	if e.StateKey != nil {
		e.Type.Class = event.StateEventType
	}
	_ = e.Content.ParseRaw(e.Type) // content of the wrong shape stays raw
	return e, nil
}

// Typing says for how long the user will be typing in a room; 0: not any more.
func (u *User) Typing(ctx context.Context, room matrix.RoomID, timeout time.Duration) error {
	_, err := u.api.UserTyping(ctx, id.RoomID(room), timeout > 0, timeout)
	return err
}

// mediaWait bounds the time until a file begins to come.
const mediaWait = 30 * time.Second

// Media asks for a file. The caller closes the answer's body, and ends ctx if it takes too
// long: files have no limit of time.
func (u *User) Media(ctx context.Context, server, mediaID string) (*http.Response, error) {
	resp, err := u.media(ctx, "/_matrix/client/v1/media/download/", server, mediaID)
	if Is(err, "M_UNRECOGNIZED") { // a homeserver from before authenticated media
		return u.media(ctx, "/_matrix/media/v3/download/", server, mediaID)
	}
	return resp, err
}

func (u *User) media(ctx context.Context, path, server, mediaID string) (*http.Response, error) {
	address := u.client.base.JoinPath(path, url.PathEscape(server), url.PathEscape(mediaID))
	address.RawQuery = url.Values{"user_id": {string(u.ID)}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+u.client.config.ASToken)
	resp, err := u.client.files.Do(req)
	if err != nil {
		return nil, mautrix.HTTPError{Request: req, Message: "download", WrappedError: err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal is the error of an answer that is none of the good ones.
func refusal(resp *http.Response) error {
	failure := mautrix.HTTPError{Request: resp.Request, Response: resp}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	known := &mautrix.RespError{}
	if err == nil && known.UnmarshalJSON(raw) == nil && known.ErrCode != "" {
		failure.RespError = known
	} else {
		failure.WrappedError = errors.Join(err, fmt.Errorf("status %d", resp.StatusCode))
	}
	return failure
}
