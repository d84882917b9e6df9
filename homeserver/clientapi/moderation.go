package clientapi

import (
	"context"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Server administration (module admin): lock, suspend, whois.
func (a *accountAPI) moderationRoutes() []api.Route {
	const lock, suspend = "/_matrix/client/v1/admin/lock/{userId}", "/_matrix/client/v1/admin/suspend/{userId}"
	const unstable = "/_matrix/client/unstable/uk.timedout.msc4323/admin/"
	oldLock, oldSuspend := api.Aliases(unstable+"lock/{userId}"), api.Aliases(unstable+"suspend/{userId}")
	return []api.Route{
		api.Endpoint("GET", lock, api.Admin, a.isLocked, oldLock),
		api.Endpoint("PUT", lock, api.Admin, a.lock, oldLock),
		api.Endpoint("GET", suspend, api.Admin, a.isSuspended, oldSuspend),
		api.Endpoint("PUT", suspend, api.Admin, a.suspend, oldSuspend),
		api.Endpoint("GET", "/_matrix/client/v3/admin/whois/{userId}", api.Guest, a.whois),
	}
}

type targetRequest struct {
	UserID matrix.UserID `path:"userId"`
}

type lockedResponse struct {
	Locked bool `json:"locked"`
}

type suspendedResponse struct {
	Suspended bool `json:"suspended"`
}

func (a *accountAPI) isLocked(ctx context.Context, who api.Caller, req *targetRequest) (*lockedResponse, error) {
	state, err := a.accounts.Moderation(ctx, accounts.Caller(who), req.UserID)
	return &lockedResponse{state.Locked}, err
}

func (a *accountAPI) isSuspended(ctx context.Context, who api.Caller, req *targetRequest) (*suspendedResponse, error) {
	state, err := a.accounts.Moderation(ctx, accounts.Caller(who), req.UserID)
	return &suspendedResponse{state.Suspended}, err
}

type lockRequest struct {
	targetRequest
	Locked bool `json:"locked" required:"true"`
}

func (a *accountAPI) lock(ctx context.Context, who api.Caller, req *lockRequest) (*lockedResponse, error) {
	return &lockedResponse{req.Locked}, a.accounts.Lock(ctx, accounts.Caller(who), req.UserID, req.Locked)
}

type suspendRequest struct {
	targetRequest
	Suspended bool `json:"suspended" required:"true"`
}

func (a *accountAPI) suspend(ctx context.Context, who api.Caller, req *suspendRequest) (*suspendedResponse, error) {
	return &suspendedResponse{req.Suspended}, a.accounts.Suspend(ctx, accounts.Caller(who), req.UserID, req.Suspended)
}

type connection struct {
	IP        string `json:"ip,omitempty"`
	LastSeen  int64  `json:"last_seen,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

type whoisSession struct {
	Connections []connection `json:"connections"`
}

type whoisDevice struct {
	Sessions []whoisSession `json:"sessions"`
}

type whoisResponse struct {
	UserID  matrix.UserID                   `json:"user_id"`
	Devices map[matrix.DeviceID]whoisDevice `json:"devices"`
}

func (a *accountAPI) whois(ctx context.Context, who api.Caller, req *targetRequest) (*whoisResponse, error) {
	list, err := a.accounts.Whois(ctx, accounts.Caller(who), req.UserID)
	res := &whoisResponse{req.UserID, map[matrix.DeviceID]whoisDevice{}}
	for _, d := range list {
		session := whoisSession{[]connection{}}
		if d.LastSeenAt != 0 {
			session.Connections = append(session.Connections, connection{d.LastSeenIP, d.LastSeenAt, d.UserAgent})
		}
		res.Devices[d.ID] = whoisDevice{[]whoisSession{session}}
	}
	return res, err
}

// forModerated opens routes to users whose accounts are locked or suspended,
// and to application services that people let act for them.
// What is not listed here is closed to the locked; the suspended may read.
func forModerated(routes []api.Route) []api.Route {
	for i := range routes {
		r := &routes[i]
		key := r.Method + " " + r.Path
		r.ForLocked = r.ForLocked || lockedMay[key]
		r.ForDelegated = r.ForDelegated || mayBeDelegated(r)
		r.ForSuspended = r.ForSuspended || lockedMay[key] || suspendedMay[key]
	}
	return routes
}

var lockedMay = map[string]bool{
	"POST /_matrix/client/v3/logout":     true,
	"POST /_matrix/client/v3/logout/all": true,
}

// suspendedMay is Client-Server API § Account suspension: what changes nothing
// for others but to their relief, and what keeps clients working.
var suspendedMay = map[string]bool{
	"POST /_matrix/client/v3/rooms/{roomId}/leave":                           true,
	"POST /_matrix/client/v3/rooms/{roomId}/forget":                          true,
	"PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}":         true, // their own
	"POST /_matrix/client/v3/rooms/{roomId}/redact/{eventId}":                true, // the same
	"POST /_matrix/client/v3/rooms/{roomId}/read_markers":                    true,
	"POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}": true,
	"POST /_matrix/client/v3/publicRooms":                                    true, // reads
	"POST /_matrix/client/v3/search":                                         true, // reads
	"POST /_matrix/client/v3/user_directory/search":                          true, // reads
	"POST /_matrix/client/v3/rooms/{roomId}/report":                          true,
	"POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}":                true,
	"POST /_matrix/client/v3/users/{userId}/report":                          true,
	"POST /_matrix/client/v3/user/{userId}/filter":                           true,
	"POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync":       true, // reads
	"POST /_matrix/client/v4/sync":                                           true, // reads

	"PUT /_matrix/client/v3/devices/{deviceId}":                  true,
	"DELETE /_matrix/client/v3/devices/{deviceId}":               true,
	"POST /_matrix/client/v3/delete_devices":                     true,
	"POST /_matrix/client/v3/account/deactivate":                 true,
	"POST /_matrix/client/v3/account/password":                   true,
	"POST /_matrix/client/v3/account/3pid/add":                   true,
	"POST /_matrix/client/v3/account/3pid/email/requestToken":    true,
	"POST /_matrix/client/v3/keys/upload":                        true,
	"POST /_matrix/client/v3/keys/upload/{deviceId}":             true,
	"POST /_matrix/client/v3/keys/query":                         true,
	"POST /_matrix/client/v3/keys/claim":                         true,
	"POST /_matrix/client/v3/keys/device_signing/upload":         true,
	"POST /_matrix/client/v3/keys/signatures/upload":             true,
	"PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}":    true, // verification
	"POST /_matrix/client/v3/room_keys/version":                  true,
	"PUT /_matrix/client/v3/room_keys/version/{version}":         true,
	"DELETE /_matrix/client/v3/room_keys/version/{version}":      true,
	"PUT /_matrix/client/v3/room_keys/keys":                      true,
	"PUT /_matrix/client/v3/room_keys/keys/{roomId}":             true,
	"PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}": true,
	"PUT /_matrix/client/v3/user/{userId}/account_data/{type}":   true, // secret storage
	"POST /_matrix/client/v3/pushers/set":                        true, // of their own devices

	"PUT " + threadPath:    true,
	"DELETE " + threadPath: true,
}

// checkOwn keeps suspended users from redacting what others wrote.
func (a *eventsAPI) checkOwn(ctx context.Context, who api.Caller, room matrix.RoomID, event matrix.EventID) error {
	if !who.Suspended {
		return nil
	}
	e, _, err := a.rooms.Event(ctx, room, event, who.UserID)
	if err == nil && e.Sender != who.UserID {
		err = matrix.UserSuspended()
	}
	return err
}
