// Package adminapi is the operator's API: the operations under /_synapse/admin
// that scripts and consoles for homeservers know, and under /_trestle/admin
// those that only this server has. docs/admin-api.md lists them.
package adminapi

import (
	"context"
	"slices"

	"trestle/appservice/sender"
	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/ledger"
	"trestle/homeserver/media"
	"trestle/homeserver/notices"
	"trestle/homeserver/outbox"
	"trestle/homeserver/pushers"
	"trestle/homeserver/registrar"
	"trestle/homeserver/reports"
	"trestle/homeserver/rooms"
	"trestle/homeserver/sso"
	"trestle/internal/matrix"
	"trestle/registration"
)

// Services are what the API is a face of.
type Services struct {
	ServerName matrix.ServerName
	Version    string // of the software
	Accounts   *accounts.Service
	Rooms      *rooms.Service
	Media      *media.Service
	Notices    *notices.Service
	Reports    *reports.Service
	Pushers    *pushers.Service
	SSO        *sso.Service
	Outbox     *outbox.Service // nil: other servers are sent nothing

	Registry  *registration.Registry
	Sender    *sender.Service
	Registrar *registrar.Service
	Ledger    *ledger.Service // does what changes something
}

const v1, v2 = "/_synapse/admin/v1", "/_synapse/admin/v2"

// Routes is the whole operator's API.
func Routes(s Services) []api.Route {
	users := &usersAPI{s.ServerName, s.Accounts, s.Rooms, s.SSO}
	return slices.Concat(
		(&serverAPI{s.Version}).routes(),
		users.routes(),
		users.deviceRoutes(),
		users.externalRoutes(),
		(&tokensAPI{s.Accounts}).routes(),
		(&roomsAPI{s.Rooms, s.Accounts}).routes(),
		(&mediaAPI{s.ServerName, s.Media, s.Rooms}).routes(),
		(&noticesAPI{s.Notices}).routes(),
		(&reportsAPI{s.Reports, s.Rooms}).routes(),
		(&pushersAPI{s.Accounts, s.Pushers}).routes(),
		(&destinationsAPI{s.Outbox}).routes(),
		(&appservicesAPI{s.Registry, s.Sender, s.Ledger}).routes(),
		(&registrationsAPI{s.Registrar, s.Ledger}).routes(),
	)
}

// serverAPI is about the server itself.
type serverAPI struct{ version string }

func (a *serverAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", v1+"/server_version", api.None, a.serverVersion),
	}
}

type versionResponse struct {
	Version string `json:"server_version"`
}

func (a *serverAPI) serverVersion(context.Context, api.Caller, *struct{}) (*versionResponse, error) {
	return &versionResponse{a.version}, nil
}

// A page is which part of a list is wanted.
type page struct {
	From  *int64 `query:"from"`
	Limit *int64 `query:"limit"`
}

// bounds checks a page.
func (p page) bounds() (from, limit int64, err error) {
	const standard, most = 100, 1000
	limit = standard
	if p.From != nil {
		from = *p.From
	}
	if p.Limit != nil {
		limit = *p.Limit
	}
	if from < 0 || limit < 1 {
		return 0, 0, matrix.InvalidParam("from is a number from 0 and limit one from 1.")
	}
	return from, min(limit, most), nil
}

// backward reads dir.
func backward(dir string) (bool, error) {
	switch dir {
	case "", "f":
		return false, nil
	case "b":
		return true, nil
	}
	return false, matrix.InvalidParam("dir is f or b.")
}

// optionalText is a text, or null instead of an empty one.
func optionalText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// optionalNumber is a number, or null instead of 0.
func optionalNumber(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}
