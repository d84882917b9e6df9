package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Request says which media somebody wants, and how.
type Request struct {
	URI  URI
	Wait time.Duration // for the upload, where the ID exists already
	Stop <-chan struct{}
	// LocalOnly is for those who don't want other servers to be asked.
	LocalOnly bool
	// Unauthenticated is for the endpoints without authentication.
	Unauthenticated bool
}

// Media is content with its ID.
type Media struct {
	URI         URI
	Hash        Hash
	Size        int64
	ContentType string
	FileName    string
}

// maxWait is the longest that a request waits for an upload.
const maxWait = time.Minute

// Find looks media up, and fetches it from its server if need be. It waits for
// an upload until the time is over, or Stop is closed: M_NOT_YET_UPLOADED.
func (s *Service) Find(ctx context.Context, r Request) (*Media, error) {
	if !ValidID(r.URI.ID) {
		return nil, matrix.InvalidParam("A media ID has letters, digits, _ and - only.")
	}
	var entry *storage.MediaEntry
	var err error
	if s.local(r.URI) {
		entry, err = s.findLocal(ctx, r)
	} else {
		entry, err = s.findRemote(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	if entry == nil || r.Unauthenticated && !entry.Unauthenticated && !s.options.AllowUnauthenticated {
		return nil, notFound()
	}
	if entry.QuarantinedBy != "" {
		return nil, notFound()
	}
	s.used(entry)
	return newMedia(entry), nil
}

func newMedia(e *storage.MediaEntry) *Media {
	m := &Media{URI: URI{e.Origin, e.ID}, Size: e.Size, ContentType: e.ContentType, FileName: e.FileName}
	copy(m.Hash[:], e.Hash)
	return m
}

func notFound() *matrix.Error { return matrix.NotFound("There is no such media here.") }

// findLocal is the entry of a local ID once it has content; nil if there is
// no such ID, or it expired.
func (s *Service) findLocal(ctx context.Context, r Request) (*storage.MediaEntry, error) {
	entry, err := s.options.Store.Find(ctx, r.URI.Server, r.URI.ID)
	if err != nil || entry == nil || entry.Hash != nil {
		return entry, err
	}
	wait := min(r.Wait, maxWait)
	if r.Unauthenticated && !s.options.AllowUnauthenticated {
		wait = 0 // it would not be served
	}
	if wait > 0 {
		if entry, err = s.await(ctx, r, wait); err != nil || entry == nil || entry.Hash != nil {
			return entry, err
		}
	}
	if entry.ExpiresAt <= s.options.Now().UnixMilli() {
		return nil, nil
	}
	return nil, matrix.NewError(http.StatusGatewayTimeout, "M_NOT_YET_UPLOADED", "This has not been uploaded yet.")
}

// await waits for an upload, and returns the entry as it is then.
func (s *Service) await(ctx context.Context, r Request, wait time.Duration) (*storage.MediaEntry, error) {
	came, leave := s.arrivals.expect(r.URI)
	defer leave()
	// It may have come before anybody expected it.
	entry, err := s.options.Store.Find(ctx, r.URI.Server, r.URI.ID)
	if err != nil || entry == nil || entry.Hash != nil {
		return entry, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-came:
		return s.options.Store.Find(ctx, r.URI.Server, r.URI.ID)
	case <-timer.C:
	case <-r.Stop:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return entry, nil
}

// findRemote is the entry of media of another server, fetched if it is not
// here yet; nil if there is none.
func (s *Service) findRemote(ctx context.Context, r Request) (*storage.MediaEntry, error) {
	entry, err := s.options.Store.Find(ctx, r.URI.Server, r.URI.ID)
	if err != nil || entry != nil {
		return entry, err
	}
	frozen := r.Unauthenticated && !s.options.AllowUnauthenticated
	if r.LocalOnly || frozen || s.options.Remote == nil {
		return nil, nil
	}
	if _, err := s.fetches.do(ctx, r.URI, s.fetchAndTrim(r.URI)); err != nil {
		return nil, err
	}
	return s.options.Store.Find(ctx, r.URI.Server, r.URI.ID)
}

// fetch downloads media of another server and keeps it.
func (s *Service) fetch(uri URI) func(context.Context) (struct{}, error) {
	return func(ctx context.Context) (none struct{}, err error) {
		download, err := s.options.Remote.Download(ctx, uri)
		if err != nil {
			return none, err
		}
		defer download.Body.Close()
		body := &watched{r: download.Body}
		upload := Upload{ContentType: download.ContentType, FileName: download.FileName, Size: -1, Body: body}
		if checkFileName(upload.FileName) != nil {
			upload.FileName = ""
		}
		entry, named, err := s.receive(ctx, upload)
		if matrix.Code(err) == "M_TOO_LARGE" {
			return none, matrix.NewError(http.StatusBadGateway, "M_TOO_LARGE", "This is larger than what is served here.")
		}
		if err != nil && body.err != nil && ctx.Err() == nil {
			s.options.Log.InfoContext(ctx, "a download from another server broke off", "uri", uri, "err", body.err)
			return none, matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "The server that has this did not send all of it.")
		}
		if err != nil {
			return none, err
		}
		defer named()
		entry.Origin, entry.ID = uri.Server, uri.ID
		return none, s.options.DB.Update(ctx, func(tx *database.Tx) error {
			if _, err := s.options.Store.Insert(ctx, tx, *entry); err != nil {
				return err
			}
			by, err := s.options.Store.QuarantinedBy(ctx, tx, entry.Hash)
			if err == nil && by != "" {
				_, err = s.options.Store.Quarantine(ctx, tx, mediaID(uri), by)
			}
			return err
		})
	}
}

// watched is a reader that knows whether it failed.
type watched struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// Open reads content. It has to be closed.
func (s *Service) Open(ctx context.Context, hash Hash) (io.ReadSeekCloser, error) {
	file, err := s.options.Files.Open(ctx, hash)
	if errors.Is(err, fs.ErrNotExist) {
		// The database outlived the files; the operator should know.
		s.options.Log.ErrorContext(ctx, "a media file is gone", "hash", hash)
		return nil, notFound()
	}
	if err != nil {
		return nil, fmt.Errorf("open media file %s: %w", hash, err)
	}
	return file, nil
}
