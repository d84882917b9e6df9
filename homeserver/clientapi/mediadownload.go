package clientapi

import (
	"io"
	"net/http"
	"strings"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/media"
	"trestle/internal/matrix"
)

// mediaRequest names media that somebody wants.
type mediaRequest struct {
	Server  matrix.ServerName `path:"serverName"`
	ID      string            `path:"mediaId"`
	Timeout *int64            `query:"timeout_ms"`
}

// namedMediaRequest wants it under a name of its own.
type namedMediaRequest struct {
	mediaRequest
	FileName string `path:"fileName"`
}

// oldMediaRequest is for the endpoints without authentication. They know one
// parameter more, and one, allow_redirect, that changes nothing: there are no
// redirects.
type oldMediaRequest struct {
	mediaRequest
	AllowRemote *bool `query:"allow_remote"`
}

type oldNamedMediaRequest struct {
	oldMediaRequest
	FileName string `path:"fileName"`
}

type thumbnailRequest struct {
	mediaRequest
	thumbnailWish
}

type oldThumbnailRequest struct {
	oldMediaRequest
	thumbnailWish
}

type thumbnailWish struct {
	Width    int64  `query:"width" required:"true"`
	Height   int64  `query:"height" required:"true"`
	Method   string `query:"method"`
	Animated bool   `query:"animated"`
}

// find turns the request into one for the service.
func (q *mediaRequest) find(r *http.Request) media.Request {
	const standard, most = 20_000, 600_000
	wait := int64(standard)
	if q.Timeout != nil {
		wait = min(max(*q.Timeout, 0), most)
	}
	return media.Request{
		URI:  media.URI{Server: q.Server, ID: q.ID},
		Wait: time.Duration(wait) * time.Millisecond,
		Stop: api.Draining(r.Context()),
	}
}

func (q *oldMediaRequest) find(r *http.Request) media.Request {
	request := q.mediaRequest.find(r)
	request.Unauthenticated = true
	request.LocalOnly = q.AllowRemote != nil && !*q.AllowRemote
	return request
}

func (a *mediaAPI) download(w http.ResponseWriter, r *http.Request, _ api.Caller, req *mediaRequest) error {
	return a.serve(w, r, req.find(r), "")
}

func (a *mediaAPI) downloadAs(w http.ResponseWriter, r *http.Request, _ api.Caller, req *namedMediaRequest) error {
	return a.serve(w, r, req.find(r), req.FileName)
}

func (a *mediaAPI) oldDownload(w http.ResponseWriter, r *http.Request, _ api.Caller, req *oldMediaRequest) error {
	return a.serve(w, r, req.find(r), "")
}

func (a *mediaAPI) oldDownloadAs(w http.ResponseWriter, r *http.Request, _ api.Caller, req *oldNamedMediaRequest) error {
	return a.serve(w, r, req.find(r), req.FileName)
}

// serve answers with whole content, under its own name unless there is another.
func (a *mediaAPI) serve(w http.ResponseWriter, r *http.Request, request media.Request, fileName string) error {
	m, err := a.media.Find(r.Context(), request)
	if err != nil {
		return err
	}
	if fileName == "" {
		fileName = m.FileName
	}
	return a.send(w, r, request, content{m.Hash, m.ContentType, fileName})
}

func (a *mediaAPI) thumbnail(w http.ResponseWriter, r *http.Request, _ api.Caller, req *thumbnailRequest) error {
	return a.serveThumbnail(w, r, req.find(r), req.thumbnailWish)
}

func (a *mediaAPI) oldThumbnail(w http.ResponseWriter, r *http.Request, _ api.Caller, req *oldThumbnailRequest) error {
	return a.serveThumbnail(w, r, req.find(r), req.thumbnailWish)
}

func (a *mediaAPI) serveThumbnail(w http.ResponseWriter, r *http.Request, request media.Request, wish thumbnailWish) error {
	m, err := a.media.Find(r.Context(), request)
	if err != nil {
		return err
	}
	t, err := a.media.Thumbnail(r.Context(), m, media.Wish(wish))
	if err != nil {
		return err
	}
	return a.send(w, r, request, content{t.Hash, string(t.Format), "thumbnail" + t.Format.Extension()})
}

// content is what is sent, and how it is called.
type content struct {
	hash           media.Hash
	kind, fileName string
}

// contentPolicy is the policy that the specification recommends: a document
// among the media can do nothing (§ Content repository).
const contentPolicy = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';"

// send answers with content, or with parts of it, or says that what the client
// has is right: content never changes.
func (a *mediaAPI) send(w http.ResponseWriter, r *http.Request, request media.Request, c content) error {
	file, err := a.media.Open(r.Context(), c.hash)
	if err != nil {
		return err
	}
	defer file.Close()
	header := w.Header()
	header.Set("Content-Type", c.kind)
	header.Set("Content-Disposition", media.Disposition(c.kind, c.fileName))
	header.Set("Content-Security-Policy", contentPolicy)
	header.Set("Cross-Origin-Resource-Policy", "cross-origin")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("ETag", `"`+c.hash.String()+`"`)
	header.Set("Cache-Control", "private, max-age=31536000, immutable")
	if request.Unauthenticated {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
		header.Set("X-Robots-Tag", "noindex, nofollow, noarchive, noimageindex")
	}
	return serveParts(w, r, file)
}

// serveParts is http.ServeContent, but answers a range that is outside of the
// content as a Matrix API does.
func serveParts(w http.ResponseWriter, r *http.Request, file io.ReadSeeker) error {
	watched := &rangeWatcher{ResponseWriter: w}
	http.ServeContent(watched, r, "", time.Time{}, file)
	if !watched.refused {
		return nil
	}
	header := w.Header()
	for name := range header {
		if !strings.HasPrefix(name, "Access-Control-") && name != "Content-Range" {
			header.Del(name)
		}
	}
	return matrix.NewError(http.StatusRequestedRangeNotSatisfiable, "M_UNKNOWN", "The range is outside of the content.")
}

// A rangeWatcher holds back the answer to a range that cannot be satisfied.
type rangeWatcher struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader implements http.ResponseWriter.
func (w *rangeWatcher) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable {
		w.refused = true
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *rangeWatcher) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}
