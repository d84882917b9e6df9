package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/encryption"
	"trestle/homeserver/oauth"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// keysAPI is the keys of devices and users (module end_to_end_encryption).
type keysAPI struct {
	keys     *encryption.Service
	accounts *accounts.Service
	oauth    *oauth.Service // nil: off
}

// EncryptionRoutes are the endpoints about keys, key backups and messages to
// devices.
func EncryptionRoutes(keys *encryption.Service, accounts *accounts.Service, oauth *oauth.Service) []api.Route {
	all := (&keysAPI{keys, accounts, oauth}).routes()
	all = append(all, (&backupAPI{keys}).routes()...)
	all = append(all, (&dehydratedAPI{keys}).routes()...)
	return append(all, (&toDeviceAPI{keys}).routes()...)
}

func (a *keysAPI) routes() []api.Route {
	limited := api.Limit("keys")
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/keys/upload", api.Guest, a.upload, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/keys/upload/{deviceId}", api.Guest, a.uploadFor, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/keys/query", api.Guest, a.query, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/keys/claim", api.Guest, a.claim, limited),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/keys/changes", api.User, a.changes, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/keys/device_signing/upload", api.User, a.uploadSigning, limited,
			api.Aliases("/_matrix/client/unstable/keys/device_signing/upload")),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/keys/signatures/upload", api.User, a.uploadSignatures, limited,
			api.Aliases("/_matrix/client/unstable/keys/signatures/upload")),
	}
}

type keysUploadRequest struct {
	Body json.RawMessage `body:"raw"`
}

type keysUploadResponse struct {
	Counts map[string]int `json:"one_time_key_counts"`
}

func (a *keysAPI) upload(ctx context.Context, who api.Caller, req *keysUploadRequest) (*keysUploadResponse, error) {
	if who.DeviceID == "" {
		return nil, matrix.InvalidParam("Keys are a device's: application services name it as device_id.")
	}
	upload, err := encryption.ParseUpload(req.Body)
	if err != nil {
		return nil, err
	}
	counts, err := a.keys.Upload(ctx, who.UserID, who.DeviceID, upload)
	if err != nil {
		return nil, err
	}
	return &keysUploadResponse{counts}, nil
}

type keysUploadForRequest struct {
	keysUploadRequest
	Device matrix.DeviceID `path:"deviceId"`
}

// uploadFor is how clients of before r0.3 upload: they name their device.
func (a *keysAPI) uploadFor(ctx context.Context, who api.Caller, req *keysUploadForRequest) (*keysUploadResponse, error) {
	if who.DeviceID != "" && req.Device != who.DeviceID {
		return nil, matrix.Forbidden("You are the device %.80q, whose keys these are not.", who.DeviceID)
	}
	return a.upload(ctx, who, &req.keysUploadRequest)
}

// checkUsers checks the keys of an object that are user IDs.
func checkUsers[T any](users map[matrix.UserID]T) error {
	for user := range users {
		if _, err := matrix.ParseUserID(string(user)); err != nil {
			return matrix.InvalidParam("%v.", err)
		}
	}
	return nil
}

type keysQueryRequest struct {
	// Timeout is for asking other servers.
	Timeout *int64           `json:"timeout"`
	Devices encryption.Query `json:"device_keys" required:"true"`
}

func (r *keysQueryRequest) Validate() error { return checkUsers(r.Devices) }

func (a *keysAPI) query(ctx context.Context, who api.Caller, req *keysQueryRequest) (*encryption.Found, error) {
	return a.keys.Query(ctx, who.UserID, req.Devices)
}

type keysClaimRequest struct {
	Timeout *int64           `json:"timeout"`
	Keys    encryption.Claim `json:"one_time_keys" required:"true"`
}

func (r *keysClaimRequest) Validate() error { return checkUsers(r.Keys) }

func (a *keysAPI) claim(ctx context.Context, _ api.Caller, req *keysClaimRequest) (*encryption.Claimed, error) {
	return a.keys.Claim(ctx, req.Keys)
}

type keysChangesRequest struct {
	From string `query:"from" required:"true"`
	To   string `query:"to" required:"true"`
}

type keysChangesResponse struct {
	Changed []matrix.UserID `json:"changed"`
	Left    []matrix.UserID `json:"left"`
}

func (a *keysAPI) changes(ctx context.Context, who api.Caller, req *keysChangesRequest) (*keysChangesResponse, error) {
	from, err := syncer.ParseToken(req.From)
	if err != nil {
		return nil, err
	}
	to, err := syncer.ParseToken(req.To)
	if err != nil {
		return nil, err
	}
	res := keysChangesResponse{Changed: []matrix.UserID{}, Left: []matrix.UserID{}}
	changed, left, err := a.keys.DeviceLists(ctx, who.UserID, from.Position, to.Position)
	res.Changed, res.Left = append(res.Changed, changed...), append(res.Left, left...)
	return &res, err
}

type signingUploadRequest struct {
	Body json.RawMessage `body:"raw"`
}

func (a *keysAPI) uploadSigning(ctx context.Context, who api.Caller, req *signingUploadRequest) (*struct{}, error) {
	keys, err := encryption.ParseCrossSigningKeys(who.UserID, req.Body)
	if err != nil {
		return nil, err
	}
	return nil, a.keys.SetCrossSigningKeys(ctx, who.UserID, keys, func() error {
		if who.AppService != "" && !who.Watcher {
			return nil
		}
		var body struct {
			Auth json.RawMessage `json:"auth"`
		}
		if err := json.Unmarshal(req.Body, &body); err != nil {
			return matrix.BadJSON("The body is malformed.")
		}
		if a.oauth != nil {
			if mine, err := a.oauth.ConfirmReset(ctx, who.UserID, who.DeviceID, body.Auth); mine || err != nil {
				return err
			}
		}
		return a.accounts.Confirm(ctx, accounts.ConfirmPassword("upload cross-signing keys", who.UserID), body.Auth)
	})
}

type signaturesUploadRequest struct {
	Signed encryption.SignedKeys `body:"raw"`
}

func (r *signaturesUploadRequest) Validate() error { return checkUsers(r.Signed) }

type signaturesUploadResponse struct {
	Failures encryption.SignatureFailures `json:"failures"`
}

func (a *keysAPI) uploadSignatures(ctx context.Context, who api.Caller, req *signaturesUploadRequest) (*signaturesUploadResponse, error) {
	failures, err := a.keys.AddSignatures(ctx, who.UserID, req.Signed)
	if err != nil {
		return nil, err
	}
	return &signaturesUploadResponse{failures}, nil
}
