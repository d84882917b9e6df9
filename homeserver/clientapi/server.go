package clientapi

import (
	"context"
	"maps"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// What the server is and can do (modules versions, wellknown, support and
// capabilities).
func (a *accountAPI) serverRoutes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/versions", api.None, a.versions),
		api.Endpoint("GET", "/.well-known/matrix/client", api.None, a.wellKnown),
		api.Endpoint("GET", "/.well-known/matrix/server", api.None, a.wellKnownServer),
		api.Endpoint("GET", "/.well-known/matrix/support", api.None, a.support),
		api.Endpoint("GET", "/_matrix/client/v3/capabilities", api.User, a.capabilities),
	}
}

// specVersions are the versions of the specification whose operations are
// served. Clients look for exact strings.
var specVersions = []string{
	"r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1",
	"v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
	"v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
}

type versionsResponse struct {
	Versions         []string        `json:"versions"`
	UnstableFeatures map[string]bool `json:"unstable_features"`
}

func (a *accountAPI) versions(context.Context, api.Caller, *struct{}) (*versionsResponse, error) {
	features := maps.Clone(accountFeatures)
	maps.Copy(features, a.config.UnstableFeatures)
	return &versionsResponse{specVersions, features}, nil
}

// accountFeatures are the proposals about accounts that are served under their
// unstable names as well.
var accountFeatures = map[string]bool{
	"uk.tcpip.msc4133":        true, // profile fields of any name
	"uk.tcpip.msc4133.stable": true,
	"uk.timedout.msc4323":     true, // lock and suspend
}

type wellKnown struct {
	Homeserver struct {
		BaseURL string `json:"base_url"`
	} `json:"m.homeserver"`
}

// discovery is what clients are told about where the server is, or nil.
func (a *accountAPI) discovery() *wellKnown {
	if a.config.BaseURL == "" {
		return nil
	}
	w := new(wellKnown)
	w.Homeserver.BaseURL = a.config.BaseURL
	return w
}

func (a *accountAPI) wellKnown(context.Context, api.Caller, *struct{}) (*map[string]any, error) {
	w := a.discovery()
	if w == nil {
		return nil, matrix.NotFound("This server does not say where clients find it.")
	}
	all := map[string]any{}
	maps.Copy(all, a.config.WellKnown)
	all["m.homeserver"] = w.Homeserver
	return &all, nil
}

type wellKnownServer struct {
	Server matrix.ServerName `json:"m.server"`
}

// wellKnownServer tells other homeservers where this one is (Server-Server API § Server discovery).
func (a *accountAPI) wellKnownServer(context.Context, api.Caller, *struct{}) (*wellKnownServer, error) {
	if a.config.FederationAt == "" {
		return nil, matrix.NotFound("This server is found at its name.")
	}
	return &wellKnownServer{a.config.FederationAt}, nil
}

type supportResponse struct {
	Contacts    []Contact `json:"contacts,omitempty"`
	SupportPage string    `json:"support_page,omitempty"`
}

func (a *accountAPI) support(context.Context, api.Caller, *struct{}) (*supportResponse, error) {
	if len(a.config.Contacts) == 0 && a.config.SupportPage == "" {
		return nil, matrix.NotFound("This server names no contact.")
	}
	return &supportResponse{a.config.Contacts, a.config.SupportPage}, nil
}

type capability struct {
	Enabled bool `json:"enabled"`
}

type roomVersions struct {
	Default   string            `json:"default"`
	Available map[string]string `json:"available"`
}

type capabilitiesResponse struct {
	Capabilities map[string]any `json:"capabilities"`
}

func (a *accountAPI) capabilities(_ context.Context, who api.Caller, _ *struct{}) (*capabilitiesResponse, error) {
	versions := roomVersions{Default: a.config.RoomVersion, Available: map[string]string{}}
	if versions.Default == "" {
		versions.Default = roomversion.Default
	}
	for _, v := range roomversion.All() {
		if v.Supported() {
			versions.Available[v.ID] = "stable"
		}
	}
	all := map[string]any{
		"m.room_versions":                 versions,
		"m.change_password":               capability{true},
		"m.profile_fields":                capability{true},
		"uk.tcpip.msc4133.profile_fields": capability{true},
		"m.set_displayname":               capability{true},
		"m.set_avatar_url":                capability{true},
		"m.3pid_changes":                  capability{a.accounts.EmailEnabled()},
		"m.get_login_token":               capability{true},
		"m.forget_forced_upon_leave":      capability{false},
	}
	if who.Admin {
		all["m.account_moderation"] = moderationCapability{Lock: true, Suspend: true}
		all["uk.timedout.msc4323"] = all["m.account_moderation"]
	}
	maps.Copy(all, a.config.Capabilities)
	return &capabilitiesResponse{all}, nil
}

// moderationCapability is told to administrators only.
type moderationCapability struct {
	Suspend bool `json:"suspend"`
	Lock    bool `json:"lock"`
}
