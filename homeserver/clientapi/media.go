package clientapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	"trestle/homeserver/api"
	"trestle/homeserver/media"
	"trestle/internal/matrix"
)

// mediaAPI is the content repository (module content_repo): what comes in.
// mediadownload.go has what goes out.
type mediaAPI struct {
	media *media.Service
}

func newMediaAPI(m *media.Service) *mediaAPI { return &mediaAPI{media: m} }

// MediaRoutes are the routes of the content repository, the deprecated ones
// under all the versions that they have had.
func MediaRoutes(m *media.Service) []api.Route { return newMediaAPI(m).routes() }

func (a *mediaAPI) routes() []api.Route {
	const (
		upload    = "/_matrix/media/v3/upload"
		download  = "/media/download/{serverName}/{mediaId}"
		thumbnail = "/media/thumbnail/{serverName}/{mediaId}"
		old       = "/_matrix/media/v3"
		older     = "/_matrix/media/v1"
		oldGet    = "/download/{serverName}/{mediaId}"
		oldThumb  = "/thumbnail/{serverName}/{mediaId}"
	)
	limit, bucket := api.BodyLimit(a.media.MaxUpload()), api.Limit("upload")
	return []api.Route{
		api.Raw("POST", upload, api.User, a.upload, limit, bucket, api.Aliases(older+"/upload")),
		api.Raw("PUT", upload+"/{serverName}/{mediaId}", api.User, a.fill, limit, bucket),
		api.Endpoint("POST", "/_matrix/media/v1/create", api.User, a.create, bucket),
		api.Endpoint("GET", "/_matrix/client/v1/media/config", api.User, a.limits),
		api.Endpoint("GET", old+"/config", api.User, a.limits, api.Aliases(older+"/config")),

		api.Stream("GET", "/_matrix/client/v1"+download, api.Guest, a.download),
		api.Stream("GET", "/_matrix/client/v1"+download+"/{fileName}", api.Guest, a.downloadAs),
		api.Stream("GET", "/_matrix/client/v1"+thumbnail, api.Guest, a.thumbnail),

		api.Stream("GET", old+oldGet, api.None, a.oldDownload, api.Aliases(older+oldGet)),
		api.Stream("GET", old+oldGet+"/{fileName}", api.None, a.oldDownloadAs, api.Aliases(older+oldGet+"/{fileName}")),
		api.Stream("GET", old+oldThumb, api.None, a.oldThumbnail, api.Aliases(older+oldThumb)),
	}
}

type mediaConfig struct {
	UploadSize int64 `json:"m.upload.size"`
}

func (a *mediaAPI) limits(context.Context, api.Caller, *struct{}) (*mediaConfig, error) {
	return &mediaConfig{a.media.MaxUpload()}, nil
}

type createMediaResponse struct {
	ContentURI string `json:"content_uri"`
	ExpiresAt  int64  `json:"unused_expires_at"`
}

func (a *mediaAPI) create(ctx context.Context, who api.Caller, _ *struct{}) (*createMediaResponse, error) {
	uri, expires, err := a.media.Create(ctx, media.Reservation{User: who.UserID, Unlimited: who.Unlimited})
	if err != nil {
		return nil, err
	}
	return &createMediaResponse{uri.String(), expires.UnixMilli()}, nil
}

func (a *mediaAPI) upload(w http.ResponseWriter, r *http.Request, who api.Caller, params api.Params) error {
	body := &uploadBody{body: r.Body}
	uri, err := a.media.Upload(r.Context(), newUpload(r, who, params, body))
	if err := body.finish(err); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, []byte(`{"content_uri":"`+uri.String()+`"}`))
}

func (a *mediaAPI) fill(w http.ResponseWriter, r *http.Request, who api.Caller, params api.Params) error {
	uri := media.URI{Server: matrix.ServerName(params.Path("serverName")), ID: params.Path("mediaId")}
	body := &uploadBody{body: r.Body}
	err := a.media.Fill(r.Context(), uri, newUpload(r, who, params, body))
	if err := body.finish(err); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, []byte("{}"))
}

func newUpload(r *http.Request, who api.Caller, params api.Params, body *uploadBody) media.Upload {
	return media.Upload{
		User: who.UserID, ContentType: r.Header.Get("Content-Type"), FileName: params.Query("filename"),
		Size: r.ContentLength, Body: body, Unlimited: who.Unlimited,
	}
}

// An uploadBody is a request's body that knows whether it was to blame.
type uploadBody struct {
	body io.Reader
	err  error
}

// Read implements io.Reader.
func (b *uploadBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// finish puts what went wrong in terms for the client.
func (b *uploadBody) finish(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return matrix.TooLarge("Uploads may have up to %d bytes here.", tooLarge.Limit)
	case err != nil && errors.Is(b.err, os.ErrDeadlineExceeded):
		return api.BodyTimeout()
	case err != nil && b.err != nil:
		return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "The upload ended early.")
	}
	return err
}
