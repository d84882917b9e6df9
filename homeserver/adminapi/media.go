package adminapi

import (
	"context"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/media"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// mediaAPI is about the content repository.
type mediaAPI struct {
	server matrix.ServerName
	media  *media.Service
	rooms  *rooms.Service
}

func (a *mediaAPI) routes() []api.Route {
	one := v1 + "/media/{serverName}/{mediaId}"
	return []api.Route{
		api.Endpoint("GET", one, api.Admin, a.show),
		api.Endpoint("DELETE", one, api.Admin, a.delete),
		api.Endpoint("POST", v1+"/media/quarantine/{serverName}/{mediaId}", api.Admin, a.quarantine),
		api.Endpoint("POST", v1+"/media/unquarantine/{serverName}/{mediaId}", api.Admin, a.release),
		api.Endpoint("POST", v1+"/media/protect/{mediaId}", api.Admin, a.protect),
		api.Endpoint("POST", v1+"/media/unprotect/{mediaId}", api.Admin, a.unprotect),
		api.Endpoint("POST", v1+"/media/delete", api.Admin, a.sweep),
		api.Endpoint("POST", v1+"/purge_media_cache", api.Admin, a.purgeCache),
		api.Endpoint("GET", v1+"/room/{roomId}/media", api.Admin, a.ofRoom),
		api.Endpoint("POST", v1+"/room/{roomId}/media/quarantine", api.Admin, a.quarantineRoom, api.Aliases(v1+"/quarantine_media/{roomId}")),
		api.Endpoint("GET", v1+"/users/{userId}/media", api.Admin, a.ofUser),
		api.Endpoint("DELETE", v1+"/users/{userId}/media", api.Admin, a.deleteOfUser),
		api.Endpoint("POST", v1+"/user/{userId}/media/quarantine", api.Admin, a.quarantineUser),
	}
}

type mediaRequest struct {
	Server matrix.ServerName `path:"serverName"`
	ID     string            `path:"mediaId"`
}

func (q *mediaRequest) uri() media.URI { return media.URI{Server: q.Server, ID: q.ID} }

type shownMedia struct {
	Origin        matrix.ServerName `json:"media_origin"`
	ID            string            `json:"media_id"`
	Type          string            `json:"media_type"`
	Length        int64             `json:"media_length"`
	UploadName    *string           `json:"upload_name"`
	CreatedAt     int64             `json:"created_ts"`
	UsedAt        *int64            `json:"last_access_ts"`
	QuarantinedBy *string           `json:"quarantined_by"`
	Protected     bool              `json:"safe_from_quarantine"`
	User          *string           `json:"user_id,omitempty"`
}

func newShownMedia(e media.Entry) shownMedia {
	return shownMedia{
		e.Origin, e.ID, e.ContentType, e.Size, optionalText(e.FileName), e.CreatedAt, optionalNumber(e.UsedAt),
		optionalText(string(e.QuarantinedBy)), e.Protected, optionalText(string(e.User)),
	}
}

type showMediaResponse struct {
	Info shownMedia `json:"media_info"`
}

func (a *mediaAPI) show(ctx context.Context, _ api.Caller, req *mediaRequest) (*showMediaResponse, error) {
	entry, err := a.media.Entry(ctx, req.uri())
	if err != nil {
		return nil, err
	}
	return &showMediaResponse{newShownMedia(*entry)}, nil
}

type deletedResponse struct {
	Deleted []string `json:"deleted_media"`
	Total   int      `json:"total"`
}

func newDeletedResponse(uris []media.URI) *deletedResponse {
	res := &deletedResponse{[]string{}, len(uris)}
	for _, uri := range uris {
		res.Deleted = append(res.Deleted, uri.ID)
	}
	return res
}

func (a *mediaAPI) delete(ctx context.Context, _ api.Caller, req *mediaRequest) (*deletedResponse, error) {
	if err := a.media.Delete(ctx, req.uri()); err != nil {
		return nil, err
	}
	return newDeletedResponse([]media.URI{req.uri()}), nil
}

func (a *mediaAPI) quarantine(ctx context.Context, who api.Caller, req *mediaRequest) (*struct{}, error) {
	if _, err := a.media.Entry(ctx, req.uri()); err != nil {
		return nil, err
	}
	_, err := a.media.Quarantine(ctx, who.UserID, req.uri())
	return nil, err
}

func (a *mediaAPI) release(ctx context.Context, _ api.Caller, req *mediaRequest) (*struct{}, error) {
	return nil, a.media.Release(ctx, req.uri())
}

type ownMediaRequest struct {
	ID string `path:"mediaId"`
}

func (a *mediaAPI) protect(ctx context.Context, _ api.Caller, req *ownMediaRequest) (*struct{}, error) {
	return nil, a.media.Protect(ctx, req.ID, true)
}

func (a *mediaAPI) unprotect(ctx context.Context, _ api.Caller, req *ownMediaRequest) (*struct{}, error) {
	return nil, a.media.Protect(ctx, req.ID, false)
}

type sweepRequest struct {
	Before       int64 `query:"before_ts" required:"true"`
	Size         int64 `query:"size_gt"`
	KeepProfiles *bool `query:"keep_profiles"`
}

func (a *mediaAPI) sweep(ctx context.Context, _ api.Caller, req *sweepRequest) (*deletedResponse, error) {
	if req.Before < 0 || req.Size < 0 {
		return nil, matrix.InvalidParam("before_ts and size_gt are numbers from 0.")
	}
	deleted, err := a.media.Sweep(ctx, media.Sweep{
		Before: time.UnixMilli(req.Before), LargerThan: req.Size, KeepProfiles: req.KeepProfiles == nil || *req.KeepProfiles,
	})
	return newDeletedResponse(deleted), err
}

type purgeCacheRequest struct {
	Before int64 `query:"before_ts" required:"true"`
}

type purgeCacheResponse struct {
	Deleted int `json:"deleted"`
}

func (a *mediaAPI) purgeCache(ctx context.Context, _ api.Caller, req *purgeCacheRequest) (*purgeCacheResponse, error) {
	deleted, err := a.media.Sweep(ctx, media.Sweep{Remote: true, Before: time.UnixMilli(req.Before)})
	return &purgeCacheResponse{len(deleted)}, err
}

type roomMediaResponse struct {
	Local  []string `json:"local"`
	Remote []string `json:"remote"`
}

func (a *mediaAPI) ofRoom(ctx context.Context, _ api.Caller, req *roomRequest) (*roomMediaResponse, error) {
	uris, err := a.uris(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	res := &roomMediaResponse{[]string{}, []string{}}
	for _, uri := range uris {
		if uri.Server == a.server {
			res.Local = append(res.Local, uri.String())
		} else {
			res.Remote = append(res.Remote, uri.String())
		}
	}
	return res, nil
}

// uris is what a room's events name.
func (a *mediaAPI) uris(ctx context.Context, room matrix.RoomID) ([]media.URI, error) {
	texts, err := a.rooms.Media(ctx, room)
	if err != nil {
		return nil, err
	}
	var uris []media.URI
	for _, text := range texts {
		if uri, err := media.ParseURI(text); err == nil {
			uris = append(uris, uri)
		}
	}
	return uris, nil
}

type quarantinedResponse struct {
	Count int64 `json:"num_quarantined"`
}

func (a *mediaAPI) quarantineRoom(ctx context.Context, who api.Caller, req *roomRequest) (*quarantinedResponse, error) {
	uris, err := a.uris(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	count, err := a.media.Quarantine(ctx, who.UserID, uris...)
	return &quarantinedResponse{count}, err
}

func (a *mediaAPI) quarantineUser(ctx context.Context, who api.Caller, req *userRequest) (*quarantinedResponse, error) {
	count, err := a.media.QuarantineOfUser(ctx, who.UserID, req.UserID)
	return &quarantinedResponse{count}, err
}

type userMediaRequest struct {
	UserID matrix.UserID `path:"userId"`
	page
}

type userMediaResponse struct {
	Media []shownMedia `json:"media"`
	Total int64        `json:"total"`
	Next  *int64       `json:"next_token,omitempty"`
}

func (a *mediaAPI) ofUser(ctx context.Context, _ api.Caller, req *userMediaRequest) (*userMediaResponse, error) {
	from, limit, err := req.bounds()
	if err != nil {
		return nil, err
	}
	list, total, err := a.media.OfUser(ctx, req.UserID, from, limit)
	if err != nil {
		return nil, err
	}
	res := &userMediaResponse{Media: []shownMedia{}, Total: total}
	for _, e := range list {
		res.Media = append(res.Media, newShownMedia(e))
	}
	if next := from + int64(len(list)); next < total {
		res.Next = &next
	}
	return res, nil
}

// deleteOfUser deletes a page of what a user has uploaded.
func (a *mediaAPI) deleteOfUser(ctx context.Context, _ api.Caller, req *userMediaRequest) (*deletedResponse, error) {
	from, limit, err := req.bounds()
	if err != nil {
		return nil, err
	}
	list, _, err := a.media.OfUser(ctx, req.UserID, from, limit)
	if err != nil {
		return nil, err
	}
	var deleted []media.URI
	for _, e := range list {
		uri := media.URI{Server: e.Origin, ID: e.ID}
		if err := a.media.Delete(ctx, uri); err != nil && matrix.Code(err) != "M_NOT_FOUND" {
			return nil, err
		}
		deleted = append(deleted, uri)
	}
	return newDeletedResponse(deleted), nil
}
