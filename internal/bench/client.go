package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// client speaks the Client-Server API with connections that it keeps.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10_000, MaxConnsPerHost: 0}, Timeout: 2 * time.Minute}}
}

// call makes a request and reads the answer into out, which may be nil.
func (c *client) call(ctx context.Context, method, path, token string, body, out any) error {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// A user is an account with a room of its own.
type user struct {
	token string
	room  string
}

func (c *client) register(ctx context.Context, name string) (*user, error) {
	var login struct {
		Token string `json:"access_token"`
	}
	err := c.call(ctx, http.MethodPost, "/_matrix/client/v3/register", "", map[string]any{
		"username": name, "password": "correct horse", "auth": map[string]string{"type": "m.login.dummy"},
	}, &login)
	if err != nil {
		return nil, err
	}
	var created struct {
		RoomID string `json:"room_id"`
	}
	err = c.call(ctx, http.MethodPost, "/_matrix/client/v3/createRoom", login.Token, map[string]any{
		"preset": "public_chat", "room_alias_name": "bench_" + name,
	}, &created)
	return &user{login.Token, created.RoomID}, err
}

// send sends a message of about the size that people write.
func (c *client) send(ctx context.Context, token, room, txn string) error {
	return c.say(ctx, token, room, txn, txn+": a line as people write it, not too long")
}

func (c *client) say(ctx context.Context, token, room, txn, text string) error {
	path := "/_matrix/client/v3/rooms/" + url.PathEscape(room) + "/send/m.room.message/" + txn
	return c.call(ctx, http.MethodPut, path, token, map[string]string{"msgtype": "m.text", "body": text}, nil)
}

// synced is what the measurements read of /sync.
type synced struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join map[string]struct {
			Timeline struct {
				Events []struct {
					Content struct {
						Body string `json:"body"`
					} `json:"content"`
				} `json:"events"`
			} `json:"timeline"`
		} `json:"join"`
	} `json:"rooms"`
}

func (c *client) sync(ctx context.Context, token, since string, timeout time.Duration) (*synced, error) {
	query := url.Values{"timeout": {fmt.Sprint(timeout.Milliseconds())}, "filter": {`{"room":{"timeline":{"limit":1000}},"presence":{"types":[]}}`}}
	if since != "" {
		query.Set("since", since)
	}
	answer := new(synced)
	return answer, c.call(ctx, http.MethodGet, "/_matrix/client/v3/sync?"+query.Encode(), token, nil, answer)
}
