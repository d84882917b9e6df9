package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/encryption"
	"trestle/internal/matrix"
)

// backupAPI is backups of room keys (module end_to_end_encryption § Server-side
// key backups).
type backupAPI struct{ keys *encryption.Service }

func (a *backupAPI) routes() []api.Route {
	const (
		version = "/_matrix/client/v3/room_keys/version"
		keys    = "/_matrix/client/v3/room_keys/keys"
	)
	// Where it was before Matrix 1.1.
	old := func(path string) api.Option { return api.Aliases("/_matrix/client/unstable/room_keys" + path) }
	large := api.BodyLimit(16 << 20)
	return []api.Route{
		api.Endpoint(http.MethodPost, version, api.User, a.create, old("/version")),
		api.Endpoint(http.MethodGet, version, api.User, a.current, old("/version")),
		api.Endpoint(http.MethodGet, version+"/{version}", api.User, a.version, old("/version/{version}")),
		api.Endpoint(http.MethodPut, version+"/{version}", api.User, a.update, old("/version/{version}")),
		api.Endpoint(http.MethodDelete, version+"/{version}", api.User, a.remove, old("/version/{version}")),

		api.Endpoint(http.MethodPut, keys, api.User, a.putAll, old("/keys"), large),
		api.Endpoint(http.MethodGet, keys, api.User, a.all, old("/keys")),
		api.Endpoint(http.MethodDelete, keys, api.User, a.deleteAll, old("/keys")),
		api.Endpoint(http.MethodPut, keys+"/{roomId}", api.User, a.putRoom, old("/keys/{roomId}"), large),
		api.Endpoint(http.MethodGet, keys+"/{roomId}", api.User, a.room, old("/keys/{roomId}")),
		api.Endpoint(http.MethodDelete, keys+"/{roomId}", api.User, a.deleteRoom, old("/keys/{roomId}")),
		api.Endpoint(http.MethodPut, keys+"/{roomId}/{sessionId}", api.User, a.putSession, old("/keys/{roomId}/{sessionId}")),
		api.Endpoint(http.MethodGet, keys+"/{roomId}/{sessionId}", api.User, a.session, old("/keys/{roomId}/{sessionId}")),
		api.Endpoint(http.MethodDelete, keys+"/{roomId}/{sessionId}", api.User, a.deleteSession, old("/keys/{roomId}/{sessionId}")),
	}
}

type backupRequest struct {
	Algorithm string          `json:"algorithm" required:"true"`
	AuthData  json.RawMessage `json:"auth_data" required:"true"`
}

type backupVersionResponse struct {
	Version string `json:"version"`
}

func (a *backupAPI) create(ctx context.Context, who api.Caller, req *backupRequest) (*backupVersionResponse, error) {
	version, err := a.keys.CreateBackup(ctx, who.UserID, req.Algorithm, req.AuthData)
	if err != nil {
		return nil, err
	}
	return &backupVersionResponse{version}, nil
}

func (a *backupAPI) current(ctx context.Context, who api.Caller, _ *struct{}) (*encryption.Backup, error) {
	return a.keys.Backup(ctx, who.UserID, "")
}

type backupVersionRequest struct {
	Version string `path:"version"`
}

func (a *backupAPI) version(ctx context.Context, who api.Caller, req *backupVersionRequest) (*encryption.Backup, error) {
	return a.keys.Backup(ctx, who.UserID, req.Version)
}

type backupUpdateRequest struct {
	Version string `path:"version"`
	backupRequest
	Same *string `json:"version"` // if given, the same as in the path
}

func (a *backupAPI) update(ctx context.Context, who api.Caller, req *backupUpdateRequest) (*struct{}, error) {
	if req.Same != nil && *req.Same != req.Version {
		return nil, matrix.InvalidParam("The version in the body is not the one in the path.")
	}
	return nil, a.keys.UpdateBackup(ctx, who.UserID, req.Version, req.Algorithm, req.AuthData)
}

func (a *backupAPI) remove(ctx context.Context, who api.Caller, req *backupVersionRequest) (*struct{}, error) {
	return nil, a.keys.DeleteBackup(ctx, who.UserID, req.Version)
}

// backedUpKey is one session's key as clients see it. What may not be missing
// is a pointer.
type backedUpKey struct {
	FirstMessageIndex *int64          `json:"first_message_index"`
	ForwardedCount    *int64          `json:"forwarded_count"`
	IsVerified        *bool           `json:"is_verified"`
	Data              json.RawMessage `json:"session_data"`
}

func (k *backedUpKey) session(room matrix.RoomID, session string) (encryption.BackedUpSession, error) {
	var s encryption.BackedUpSession
	if k.FirstMessageIndex == nil || k.ForwardedCount == nil || k.IsVerified == nil || len(k.Data) == 0 {
		return s, matrix.BadJSON("A key needs first_message_index, forwarded_count, is_verified and session_data.")
	}
	if k.Data[0] != '{' {
		return s, matrix.BadJSON("session_data must be an object.")
	}
	return encryption.BackedUpSession{
		Room: room, Session: session, FirstMessageIndex: *k.FirstMessageIndex, ForwardedCount: *k.ForwardedCount, IsVerified: *k.IsVerified, Data: k.Data,
	}, nil
}

func newBackedUpKey(s encryption.BackedUpSession) backedUpKey {
	return backedUpKey{&s.FirstMessageIndex, &s.ForwardedCount, &s.IsVerified, s.Data}
}

// roomBackup is the sessions of a room.
type roomBackup struct {
	Sessions map[string]backedUpKey `json:"sessions" required:"true"`
}

func (r roomBackup) list(room matrix.RoomID) ([]encryption.BackedUpSession, error) {
	if _, err := matrix.ParseRoomID(string(room)); err != nil {
		return nil, matrix.InvalidParam("%v.", err)
	}
	var all []encryption.BackedUpSession
	for id, key := range r.Sessions {
		s, err := key.session(room, id)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

type putAllRequest struct {
	Version string                       `query:"version" required:"true"`
	Rooms   map[matrix.RoomID]roomBackup `json:"rooms" required:"true"`
}

func (a *backupAPI) putAll(ctx context.Context, who api.Caller, req *putAllRequest) (*encryption.BackupStatus, error) {
	var all []encryption.BackedUpSession
	for room, backup := range req.Rooms {
		list, err := backup.list(room)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return a.keys.BackUp(ctx, who.UserID, req.Version, all)
}

type putRoomRequest struct {
	Version string        `query:"version" required:"true"`
	Room    matrix.RoomID `path:"roomId"`
	roomBackup
}

func (a *backupAPI) putRoom(ctx context.Context, who api.Caller, req *putRoomRequest) (*encryption.BackupStatus, error) {
	list, err := req.list(req.Room)
	if err != nil {
		return nil, err
	}
	return a.keys.BackUp(ctx, who.UserID, req.Version, list)
}

type putSessionRequest struct {
	Version string        `query:"version" required:"true"`
	Room    matrix.RoomID `path:"roomId"`
	Session string        `path:"sessionId"`
	backedUpKey
}

func (a *backupAPI) putSession(ctx context.Context, who api.Caller, req *putSessionRequest) (*encryption.BackupStatus, error) {
	s, err := req.session(req.Room, req.Session)
	if err != nil {
		return nil, err
	}
	return a.keys.BackUp(ctx, who.UserID, req.Version, []encryption.BackedUpSession{s})
}

// The whole of a version, a room of it, or a session.
type (
	backedUpAll struct {
		Version string `query:"version" required:"true"`
	}
	backedUpRoom struct {
		backedUpAll
		Room matrix.RoomID `path:"roomId"`
	}
	backedUpSession struct {
		backedUpRoom
		Session string `path:"sessionId"`
	}
)

type allBackupsResponse struct {
	Rooms map[matrix.RoomID]*roomBackup `json:"rooms"`
}

func (a *backupAPI) all(ctx context.Context, who api.Caller, req *backedUpAll) (*allBackupsResponse, error) {
	list, err := a.keys.BackedUp(ctx, who.UserID, req.Version, "", "")
	if err != nil {
		return nil, err
	}
	res := &allBackupsResponse{Rooms: map[matrix.RoomID]*roomBackup{}}
	for _, s := range list {
		room := res.Rooms[s.Room]
		if room == nil {
			room = &roomBackup{Sessions: map[string]backedUpKey{}}
			res.Rooms[s.Room] = room
		}
		room.Sessions[s.Session] = newBackedUpKey(s)
	}
	return res, nil
}

func (a *backupAPI) room(ctx context.Context, who api.Caller, req *backedUpRoom) (*roomBackup, error) {
	list, err := a.keys.BackedUp(ctx, who.UserID, req.Version, req.Room, "")
	if err != nil {
		return nil, err
	}
	res := &roomBackup{Sessions: map[string]backedUpKey{}}
	for _, s := range list {
		res.Sessions[s.Session] = newBackedUpKey(s)
	}
	return res, nil
}

func (a *backupAPI) session(ctx context.Context, who api.Caller, req *backedUpSession) (*backedUpKey, error) {
	list, err := a.keys.BackedUp(ctx, who.UserID, req.Version, req.Room, req.Session)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, matrix.NotFound("There is no such key in the backup.")
	}
	key := newBackedUpKey(list[0])
	return &key, nil
}

func (a *backupAPI) deleteAll(ctx context.Context, who api.Caller, req *backedUpAll) (*encryption.BackupStatus, error) {
	return a.keys.RemoveBackedUp(ctx, who.UserID, req.Version, "", "")
}

func (a *backupAPI) deleteRoom(ctx context.Context, who api.Caller, req *backedUpRoom) (*encryption.BackupStatus, error) {
	return a.keys.RemoveBackedUp(ctx, who.UserID, req.Version, req.Room, "")
}

func (a *backupAPI) deleteSession(ctx context.Context, who api.Caller, req *backedUpSession) (*encryption.BackupStatus, error) {
	return a.keys.RemoveBackedUp(ctx, who.UserID, req.Version, req.Room, req.Session)
}
