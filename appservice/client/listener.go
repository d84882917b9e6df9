package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"trestle/appservice"
	"trestle/internal/matrix"
)

// maxTransaction bounds a transaction's body. A hundred of the largest events
// with all that a homeserver may add stay below it.
const maxTransaction = 64 << 20

// Queries answers what the homeserver asks. An error that is a *matrix.Error
// reaches it as it is; nil means that the thing exists, now at the latest.
type Queries interface {
	QueryUser(ctx context.Context, user matrix.UserID) error
	QueryAlias(ctx context.Context, alias matrix.RoomAlias) error
}

// ThirdParty may be implemented by a [Queries] whose service is to be found
// by its own names (Application Service API § Third-party networks).
type ThirdParty interface {
	Protocol(ctx context.Context, protocol string) (*appservice.Protocol, error)
	Users(ctx context.Context, protocol string, fields map[string]string) ([]appservice.User, error)
	Locations(ctx context.Context, protocol string, fields map[string]string) ([]appservice.Location, error)
	UserByID(ctx context.Context, user matrix.UserID) ([]appservice.User, error)
	LocationByAlias(ctx context.Context, alias matrix.RoomAlias) ([]appservice.Location, error)
}

// URIs may be implemented by a [Queries] whose users and rooms have URIs on
// their own network, as the first drafts of the specification had it.
type URIs interface {
	UserOfURI(ctx context.Context, uri string) (matrix.UserID, error)
	AliasOfURI(ctx context.Context, uri string) (matrix.RoomAlias, error)
}

// Ephemeral may be implemented by a [Queries] whose service is told who types and
// the like (Application Service API § Pushing ephemeral data). What is lost stays lost.
type Ephemeral interface {
	// HandleEphemeral is called for each, in order, and must not block.
	HandleEphemeral(raw json.RawMessage)
}

// A Listener is what the homeserver talks to.
type Listener struct {
	HSToken string
	Inbox   *Inbox
	Queries Queries
	Logger  *slog.Logger
}

// Handler serves the AS API under its stable paths, and under those without
// prefix that homeservers fall back to.
func (l *Listener) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, prefix := range []string{"/_matrix/app/v1", ""} {
		mux.Handle("PUT "+prefix+"/transactions/{txn}", l.endpoint(l.transaction))
		mux.Handle("GET "+prefix+"/users/{user}", l.endpoint(l.user))
		mux.Handle("GET "+prefix+"/rooms/{alias}", l.endpoint(l.alias))
	}
	mux.Handle("POST /_matrix/app/v1/ping", l.endpoint(l.ping))
	mux.Handle("GET /_matrix/app/v1/user", l.endpoint(l.userOfURI))
	mux.Handle("GET /_matrix/app/v1/alias", l.endpoint(l.aliasOfURI))
	for _, prefix := range []string{"/_matrix/app/v1/thirdparty", "/_matrix/app/unstable/thirdparty"} {
		mux.Handle("GET "+prefix+"/protocol/{protocol}", l.endpoint(l.thirdParty(protocol)))
		mux.Handle("GET "+prefix+"/user/{protocol}", l.endpoint(l.thirdParty(users)))
		mux.Handle("GET "+prefix+"/location/{protocol}", l.endpoint(l.thirdParty(locations)))
		mux.Handle("GET "+prefix+"/user", l.endpoint(l.thirdParty(userByID)))
		mux.Handle("GET "+prefix+"/location", l.endpoint(l.thirdParty(locationByAlias)))
	}
	mux.Handle("/", l.endpoint(func(r *http.Request) (any, error) {
		return nil, matrix.Unrecognized("There is nothing at %s %s.", r.Method, r.URL.Path)
	}))
	return mux
}

// endpoint authenticates, and writes what fn returns or why it could not.
func (l *Listener) endpoint(fn func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := any(nil), l.authenticate(r)
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxTransaction)
			result, err = fn(r)
		}
		if err == nil {
			if result == nil {
				result = struct{}{}
			}
			writeJSON(w, http.StatusOK, result)
			return
		}
		known, ok := errors.AsType[*matrix.Error](err)
		if !ok {
			if r.Context().Err() == nil {
				l.Logger.Error("request of the homeserver failed", "path", r.URL.Path, "err", err)
			}
			known = matrix.Unknown()
		}
		writeJSON(w, known.Status, known)
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// authenticate compares in a time that tells nothing about the token. The
// query parameter is how homeservers before version 1.4 of the specification authenticate.
func (l *Listener) authenticate(r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = r.URL.Query().Get("access_token")
	}
	if token == "" {
		return matrix.MissingToken()
	}
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(l.HSToken))
	if l.HSToken == "" || subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return matrix.Forbidden("This is not the homeserver's token.")
	}
	return nil
}

func (l *Listener) transaction(r *http.Request) (any, error) {
	raw, err := io.ReadAll(r.Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, matrix.TooLarge("A transaction may have %d bytes.", tooLarge.Limit)
	}
	if err != nil {
		return nil, err
	}
	txn, err := appservice.ParseTransaction(raw)
	if err != nil {
		return nil, err
	}
	if err := l.Inbox.StoreAll(r.Context(), r.PathValue("txn"), txn); err != nil {
		return nil, err
	}
	if ephemeral, ok := l.Queries.(Ephemeral); ok {
		for _, raw := range txn.Ephemeral {
			ephemeral.HandleEphemeral(raw)
		}
	}
	return nil, nil
}

func (l *Listener) user(r *http.Request) (any, error) {
	user, err := matrix.ParseUserID(r.PathValue("user"))
	if err != nil {
		return nil, matrix.InvalidParam("That is not a user ID.")
	}
	return nil, l.Queries.QueryUser(r.Context(), user)
}

func (l *Listener) alias(r *http.Request) (any, error) {
	alias, err := matrix.ParseRoomAlias(r.PathValue("alias"))
	if err != nil {
		return nil, matrix.InvalidParam("That is not a room alias.")
	}
	return nil, l.Queries.QueryAlias(r.Context(), alias)
}

func (l *Listener) ping(*http.Request) (any, error) { return nil, nil }

func (l *Listener) userOfURI(r *http.Request) (any, error) {
	service, ok := l.Queries.(URIs)
	if !ok {
		return nil, noURIs()
	}
	user, err := service.UserOfURI(r.Context(), r.URL.Query().Get("uri"))
	return appservice.URIAnswer{UserID: user}, err
}

func (l *Listener) aliasOfURI(r *http.Request) (any, error) {
	service, ok := l.Queries.(URIs)
	if !ok {
		return nil, noURIs()
	}
	alias, err := service.AliasOfURI(r.Context(), r.URL.Query().Get("uri"))
	return appservice.URIAnswer{Alias: alias}, err
}

func noURIs() error { return matrix.NotFound("This service knows no URIs.") }

func (l *Listener) thirdParty(look func(*http.Request, ThirdParty) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		service, ok := l.Queries.(ThirdParty)
		if !ok {
			return nil, matrix.NotFound("This service has no third-party look-ups.")
		}
		return look(r, service)
	}
}

func protocol(r *http.Request, t ThirdParty) (any, error) {
	p, err := t.Protocol(r.Context(), r.PathValue("protocol"))
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, matrix.NotFound("This service has no such protocol.")
	}
	return p.Whole(), nil
}

func users(r *http.Request, t ThirdParty) (any, error) {
	return list(t.Users(r.Context(), r.PathValue("protocol"), fields(r)))
}

func locations(r *http.Request, t ThirdParty) (any, error) {
	return list(t.Locations(r.Context(), r.PathValue("protocol"), fields(r)))
}

func userByID(r *http.Request, t ThirdParty) (any, error) {
	user, err := matrix.ParseUserID(r.URL.Query().Get("userid"))
	if err != nil {
		return nil, matrix.InvalidParam("userid is not a user ID.")
	}
	return list(t.UserByID(r.Context(), user))
}

func locationByAlias(r *http.Request, t ThirdParty) (any, error) {
	alias, err := matrix.ParseRoomAlias(r.URL.Query().Get("alias"))
	if err != nil {
		return nil, matrix.InvalidParam("alias is not a room alias.")
	}
	return list(t.LocationByAlias(r.Context(), alias))
}

// list is what was found, in a list that is empty rather than null.
func list[Found any](found []Found, err error) (any, error) {
	return append([]Found{}, found...), err
}

func fields(r *http.Request) map[string]string {
	all := map[string]string{}
	for name, values := range r.URL.Query() {
		if name != "access_token" && len(values) > 0 {
			all[name] = values[0]
		}
	}
	return all
}
