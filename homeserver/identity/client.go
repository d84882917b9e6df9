// Package identity asks identity servers, which tell who has an address, on
// behalf of this server's users. It speaks to those only that the operator
// trusts.
package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"trestle/internal/matrix"
)

// maxAnswer bounds what an identity server answers, in bytes.
const maxAnswer = 256 << 10

// timeout is how long an identity server may take.
const timeout = 20 * time.Second

// ErrUnsupported is what [Client.Unbind] returns for servers that do not unbind.
var ErrUnsupported = errors.New("the identity server does not support this")

// Options are what a Client needs.
type Options struct {
	ServerName matrix.ServerName
	Key        matrix.SigningKey
	Trusted    []string     // host or host:port
	HTTP       *http.Client // nil: the default one
}

// A Client speaks for this server.
type Client struct{ options Options }

// New makes a client.
func New(options Options) *Client {
	if options.HTTP == nil {
		options.HTTP = http.DefaultClient
	}
	return &Client{options}
}

// Trusts reports whether the operator trusts an identity server.
func (c *Client) Trusts(server string) bool { return slices.Contains(c.options.Trusted, server) }

// Bind publishes the address of a session that the identity server has
// verified (Identity Service API § Establishing associations). token is the
// user's at the identity server.
func (c *Client) Bind(ctx context.Context, server, token, sid, clientSecret string, user matrix.UserID) (medium, address string, err error) {
	body, err := json.Marshal(map[string]string{"sid": sid, "client_secret": clientSecret, "mxid": string(user)})
	if err != nil {
		return "", "", err
	}
	answer, err := c.post(ctx, server, "/_matrix/identity/v2/3pid/bind", "Bearer "+oneWord(token), body)
	if err != nil {
		return "", "", err
	}
	var association struct {
		Medium  string `json:"medium"`
		Address string `json:"address"`
	}
	if json.Unmarshal(answer, &association) != nil || association.Medium == "" || association.Address == "" {
		return "", "", unreachable("it answered nonsense")
	}
	return association.Medium, association.Address, nil
}

// Unbind takes an association back. The request is signed by this server, so
// that it needs nobody's token.
func (c *Client) Unbind(ctx context.Context, server string, user matrix.UserID, medium, address string) error {
	const path = "/_matrix/identity/v2/3pid/unbind"
	body, err := json.Marshal(map[string]any{
		"mxid": user, "threepid": map[string]string{"medium": medium, "address": address},
	})
	if err != nil {
		return err
	}
	authorization, err := c.sign(server, path, body)
	if err != nil {
		return err
	}
	_, err = c.post(ctx, server, path, authorization, body)
	return err
}

// sign is the header by which servers say who they are (Server-Server API §
// Request authentication).
func (c *Client) sign(server, path string, body []byte) (string, error) {
	object, err := json.Marshal(map[string]any{
		"method": http.MethodPost, "uri": path, "origin": c.options.ServerName, "destination": server, "content": json.RawMessage(body),
	})
	if err != nil {
		return "", err
	}
	signed, err := matrix.SignJSON(object, c.options.ServerName, c.options.Key)
	if err != nil {
		return "", err
	}
	var result struct {
		Signatures map[matrix.ServerName]map[matrix.KeyID]string `json:"signatures"`
	}
	if err := json.Unmarshal(signed, &result); err != nil {
		return "", err
	}
	key := c.options.Key.ID
	return fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`, c.options.ServerName, server, key, result.Signatures[c.options.ServerName][key]), nil
}

func (c *Client) post(ctx context.Context, server, path, authorization string, body []byte) ([]byte, error) {
	return c.do(ctx, http.MethodPost, "https://"+server+path, authorization, body)
}

func (c *Client) do(ctx context.Context, method, url, authorization string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, unreachable("its name is wrong")
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := c.options.HTTP.Do(r)
	if err != nil {
		return nil, unreachable("it could not be reached")
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, unreachable("it broke off")
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response.StatusCode, answer)
	}
	return answer, nil
}

// refusal passes an error of the identity server on.
func refusal(status int, answer []byte) error {
	var e struct {
		Code    string `json:"errcode"`
		Message string `json:"error"`
	}
	if json.Unmarshal(answer, &e) != nil || !strings.HasPrefix(e.Code, "M_") || len(e.Code) > 100 || status < 400 || status >= 500 {
		if status == http.StatusNotImplemented || status == http.StatusNotFound || status == http.StatusBadRequest {
			return ErrUnsupported
		}
		return unreachable("it failed")
	}
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden // it is not this server that does not know the token
	}
	return matrix.NewError(status, e.Code, "The identity server says: %.300s", e.Message)
}

func unreachable(why string) error {
	return matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "The identity server could not be asked: %s.", why)
}

// oneWord keeps what a client sends from being more than one header.
func oneWord(token string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return -1
		}
		return c
	}, token)
}
