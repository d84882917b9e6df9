package serverapi

import (
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/media"
	"trestle/internal/matrix"
)

// mediaAPI is the media of this server, and of no other (§ Content Repository).
type mediaAPI struct {
	server matrix.ServerName
	media  *media.Service
}

func (a *mediaAPI) routes() []api.Route {
	return []api.Route{
		api.Stream("GET", "/_matrix/federation/v1/media/download/{mediaId}", api.OtherServer, a.download, perServer()),
		api.Stream("GET", "/_matrix/federation/v1/media/thumbnail/{mediaId}", api.OtherServer, a.thumbnail, perServer()),
	}
}

type mediaRequest struct {
	ID      string `path:"mediaId"`
	Timeout *int64 `query:"timeout_ms"`
}

type thumbnailRequest struct {
	mediaRequest
	Width    int64  `query:"width" required:"true"`
	Height   int64  `query:"height" required:"true"`
	Method   string `query:"method"`
	Animated bool   `query:"animated"`
}

func (a *mediaAPI) find(r *http.Request, req *mediaRequest) (*media.Media, error) {
	const standard, most = 20_000, 60_000
	wait := int64(standard)
	if req.Timeout != nil {
		wait = min(max(*req.Timeout, 0), most)
	}
	return a.media.Find(r.Context(), media.Request{
		URI: media.URI{Server: a.server, ID: req.ID}, Wait: time.Duration(wait) * time.Millisecond, Stop: api.Draining(r.Context()), LocalOnly: true,
	})
}

func (a *mediaAPI) download(w http.ResponseWriter, r *http.Request, _ api.Caller, req *mediaRequest) error {
	m, err := a.find(r, req)
	if err != nil {
		return err
	}
	return a.send(w, r, m.Hash, m.ContentType, m.FileName)
}

func (a *mediaAPI) thumbnail(w http.ResponseWriter, r *http.Request, _ api.Caller, req *thumbnailRequest) error {
	m, err := a.find(r, &req.mediaRequest)
	if err != nil {
		return err
	}
	t, err := a.media.Thumbnail(r.Context(), m, media.Wish{Width: req.Width, Height: req.Height, Method: req.Method, Animated: req.Animated})
	if err != nil {
		return err
	}
	return a.send(w, r, t.Hash, string(t.Format), "thumbnail"+t.Format.Extension())
}

// send answers with two parts: metadata, of which there are none, and content.
func (a *mediaAPI) send(w http.ResponseWriter, r *http.Request, hash media.Hash, kind, fileName string) error {
	file, err := a.media.Open(r.Context(), hash)
	if err != nil {
		return err
	}
	defer file.Close()
	parts := multipart.NewWriter(w)
	w.Header().Set("Content-Type", "multipart/mixed; boundary="+parts.Boundary())
	metadata, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
	if err != nil {
		return err
	}
	if _, err := metadata.Write([]byte("{}")); err != nil {
		return err
	}
	content, err := parts.CreatePart(textproto.MIMEHeader{
		"Content-Type": {kind}, "Content-Disposition": {media.Disposition(kind, fileName)},
	})
	if err != nil {
		return err
	}
	if _, err := io.Copy(content, file); err != nil {
		return err
	}
	return parts.Close()
}
