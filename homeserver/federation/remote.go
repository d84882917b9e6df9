package federation

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/singleflight"

	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// Remote asks other servers what users here want to know. Its errors are fit to be answered to them.
type Remote struct {
	client    *Client
	elsewhere *http.Client
	now       func() time.Time

	profiles *lru.Cache[string, rememberedProfile]
	flights  singleflight.Group
}

const (
	maxProfile    = 128 << 10 // bytes
	maxResolved   = 64 << 10  // of the answer about an alias
	maxResidents  = 100       // servers in a room that are told
	profileStays  = time.Minute
	knownProfiles = 1000
)

type rememberedProfile struct {
	fields map[string]json.RawMessage
	until  time.Time
}

// NewRemote makes a Remote. elsewhere fetches media from where other servers say they are: addresses that
// strangers choose.
func NewRemote(client *Client, elsewhere *http.Client) *Remote {
	return &Remote{
		client: client, elsewhere: elsewhere, now: client.options.Now,
		profiles: lru.New[string, rememberedProfile](knownProfiles, nil),
	}
}

// Profile is what another server says about one of its users: all of the profile, or one field. It is remembered
// for a minute: clients ask for it without an account.
func (r *Remote) Profile(ctx context.Context, user matrix.UserID, field string) (map[string]json.RawMessage, error) {
	query := url.Values{"user_id": {string(user)}}
	if field != "" {
		query.Set("field", field)
	}
	key := query.Encode()
	if known, ok := r.profiles.Get(key); ok && r.now().Before(known.until) {
		return known.fields, nil
	}
	came := r.flights.DoChan(key, func() (any, error) {
		if known, ok := r.profiles.Get(key); ok && r.now().Before(known.until) {
			return known.fields, nil // it has just come
		}
		// Who asked first may go away; the others want to know, too.
		var fields map[string]json.RawMessage
		err := r.client.JSON(context.WithoutCancel(ctx), Request{
			To: user.Server(), Method: http.MethodGet, URI: "/_matrix/federation/v1/query/profile?" + key, Limit: maxProfile,
		}, &fields)
		if err == nil {
			r.profiles.Put(key, rememberedProfile{fields, r.now().Add(profileStays)})
		}
		return fields, err
	})
	select {
	case result := <-came:
		fields, _ := result.Val.(map[string]json.RawMessage)
		return fields, forUser(user.Server(), result.Err, "M_NOT_FOUND", "M_FORBIDDEN")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Alias is the room that an alias of another server points to, and servers that are in it.
func (r *Remote) Alias(ctx context.Context, alias matrix.RoomAlias) (matrix.RoomID, []matrix.ServerName, error) {
	var found struct {
		RoomID  matrix.RoomID       `json:"room_id"`
		Servers []matrix.ServerName `json:"servers"`
	}
	err := r.client.JSON(ctx, Request{
		To: alias.Server(), Method: http.MethodGet, Limit: maxResolved,
		URI: "/_matrix/federation/v1/query/directory?" + url.Values{"room_alias": {string(alias)}}.Encode(),
	}, &found)
	if err == nil {
		if _, wrong := matrix.ParseRoomID(string(found.RoomID)); wrong != nil {
			err = ErrAnswer
		}
	}
	if err != nil {
		return "", nil, forUser(alias.Server(), err, "M_NOT_FOUND", "M_FORBIDDEN")
	}
	var servers []matrix.ServerName
	for _, name := range found.Servers {
		if _, err := matrix.ParseServerName(string(name)); err == nil && len(servers) < maxResidents {
			servers = append(servers, name)
		}
	}
	if len(servers) == 0 {
		servers = []matrix.ServerName{alias.Server()}
	}
	return found.RoomID, servers, nil
}
