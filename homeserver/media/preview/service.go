package preview

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"trestle/homeserver/media"
	"trestle/homeserver/media/picture"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
)

// Options are what a [Service] works with.
type Options struct {
	DB    *database.DB
	Store *storage.Previews
	Guard *outbound.Guard
	Media Pictures

	MaxPage   int64         // bytes of a document that are read
	MaxImage  int64         // bytes of a picture
	MaxPixels int64         // of a picture
	Timeout   time.Duration // for a page and its picture together
	Lifetime  time.Duration // of an answer
	// MaxAnswers is how many answers are kept when Tidy has run; default 20,000.
	MaxAnswers int
	Language   string // that pages are asked for: Accept-Language; empty: any

	Now func() time.Time
	Log *slog.Logger
}

// Pictures keep what pages show.
type Pictures interface {
	KeepFetched(ctx context.Context, f media.Fetched) (media.URI, error)
	Serves(ctx context.Context, uri media.URI) (bool, error)
}

// Service makes previews, each once at a time, and remembers them.
type Service struct {
	options Options
	client  *http.Client
	flights singleflight.Group
	atOnce  *semaphore.Weighted
	turns   *turns
	failed  *lru.Cache[string, failure]
}

type failure struct {
	err   error
	until time.Time
}

const (
	maxURL      = 4096 // bytes
	fetches     = 16   // at the same time
	fetchesEach = 4    // of a user
	failures    = 4096 // that are remembered
	failureTime = time.Minute
)

// New makes the service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxAnswers <= 0 {
		o.MaxAnswers = 20_000
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{
		options: o, client: o.Guard.Client(), atOnce: semaphore.NewWeighted(fetches), turns: newTurns(fetchesEach),
		failed: lru.New[string, failure](failures, nil),
	}
}

// Preview is what a URL that a user asks about is about, as the answer of GET
// /_matrix/client/v1/media/preview_url. Errors: M_INVALID_PARAM, M_FORBIDDEN
// for what may not be reached, M_UNKNOWN with 502 for what cannot be.
func (s *Service) Preview(ctx context.Context, user matrix.UserID, text string) (json.RawMessage, error) {
	u, err := s.parse(text)
	if err != nil {
		return nil, err
	}
	key := u.String()
	// Whoever asked first may leave; the others go on waiting. What is known is
	// looked up on the flight as well: nobody then begins another with what was
	// not known before this one landed.
	flight := s.flights.DoChan(key, func() (any, error) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Timeout)
		defer cancel()
		return s.findOrMake(limited, user, u)
	})
	select {
	case done := <-flight:
		answer, _ := done.Val.(json.RawMessage)
		return answer, done.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Service) parse(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxURL {
		return nil, matrix.InvalidParam("The URL is longer than %d bytes.", maxURL)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.IndexByte(text, 0) >= 0 {
		return nil, matrix.InvalidParam("url is not the URL of a page.")
	}
	u.Scheme, u.Host, u.Fragment, u.RawFragment = strings.ToLower(u.Scheme), strings.ToLower(u.Host), "", ""
	if err := s.options.Guard.CheckURL(u); err != nil {
		return nil, refused()
	}
	return u, nil
}

func refused() error { return matrix.Forbidden("This server does not fetch that URL.") }

// findOrMake gives the answer that is known, or makes it.
func (s *Service) findOrMake(ctx context.Context, user matrix.UserID, u *url.URL) (json.RawMessage, error) {
	key, now := u.String(), s.options.Now()
	hash := sha256.Sum256([]byte(key))
	if known, err := s.options.Store.Find(ctx, hash[:], now.UnixMilli()); err != nil {
		return nil, err
	} else if known != nil {
		return s.current(ctx, known)
	}
	if f, ok := s.failed.Get(key); ok && now.Before(f.until) {
		return nil, f.err
	}
	return s.make(ctx, user, u, hash)
}

// make fetches, and keeps the answer.
func (s *Service) make(ctx context.Context, user matrix.UserID, u *url.URL, hash [sha256.Size]byte) (json.RawMessage, error) {
	done, err := s.turns.take(ctx, user)
	if err != nil {
		return nil, unreachable()
	}
	defer done()
	if err := s.atOnce.Acquire(ctx, 1); err != nil {
		return nil, unreachable()
	}
	defer s.atOnce.Release(1)
	found, err := s.fetch(ctx, u)
	if err != nil {
		s.options.Log.DebugContext(ctx, "no preview", "url", u.Redacted(), "err", err)
		known := unreachable()
		if errors.Is(err, outbound.ErrRefused) {
			known = refused()
		}
		s.failed.Put(u.String(), failure{known, s.options.Now().Add(failureTime)})
		return nil, known
	}
	answer, err := json.Marshal(found)
	if err != nil {
		return nil, err
	}
	now := s.options.Now()
	entry := storage.Preview{
		Hash: hash[:], URL: u.String(), Answer: answer,
		FetchedAt: now.UnixMilli(), ExpiresAt: now.Add(s.options.Lifetime).UnixMilli(),
	}
	return answer, s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.options.Store.Set(ctx, tx, entry) })
}

func unreachable() error {
	return matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "That page could not be fetched.")
}

// fetch looks at what is at a URL.
func (s *Service) fetch(ctx context.Context, u *url.URL) (map[string]any, error) {
	response, err := s.get(ctx, u.String(), "text/html,application/xhtml+xml;q=0.9,image/*;q=0.8,*/*;q=0.5")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	kind := response.Header.Get("Content-Type")
	answer := map[string]any{}
	at := response.Request.URL // behind all redirects
	switch {
	case isHTML(kind):
		page := Parse(io.LimitReader(response.Body, s.options.MaxPage), kind, at)
		answer = properties(page)
		for _, image := range page.Images {
			if s.addImage(ctx, answer, image) {
				break
			}
		}
	case strings.HasPrefix(kind, "image/"):
		if err := s.keepImage(ctx, answer, response); err != nil {
			return nil, err
		}
		answer["og:title"] = fileName(at)
	default:
		answer["og:title"] = fileName(at)
	}
	return answer, nil
}

func (s *Service) get(ctx context.Context, at, accept string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", "Trestle (link preview; Matrix)")
	if s.options.Language != "" {
		r.Header.Set("Accept-Language", s.options.Language)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the answer was %s", response.Status)
	}
	return response, nil
}

// addImage fetches the picture of a page; false if there is none.
func (s *Service) addImage(ctx context.Context, answer map[string]any, at string) bool {
	response, err := s.get(ctx, at, "image/*")
	if err == nil {
		defer response.Body.Close()
		err = s.keepImage(ctx, answer, response)
	}
	if err != nil {
		s.options.Log.DebugContext(ctx, "no picture for a preview", "url", at, "err", err)
	}
	return err == nil
}

// keepImage stores a picture as media.
func (s *Service) keepImage(ctx context.Context, answer map[string]any, response *http.Response) error {
	if response.ContentLength > s.options.MaxImage {
		return fmt.Errorf("the picture has %d bytes", response.ContentLength)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, s.options.MaxImage+1))
	if err != nil {
		return err
	}
	if int64(len(content)) > s.options.MaxImage {
		return fmt.Errorf("the picture has more than %d bytes", s.options.MaxImage)
	}
	info, err := picture.Probe(ctx, bytes.NewReader(content), s.options.MaxPixels)
	if err != nil {
		return err
	}
	uri, err := s.options.Media.KeepFetched(ctx, media.Fetched{
		ContentType: string(info.Format), FileName: fileName(response.Request.URL), Content: content,
	})
	if err != nil {
		return err
	}
	answer[imageKey], answer[typeKey] = uri.String(), string(info.Format)
	answer[widthKey], answer[heightKey], answer[sizeKey] = info.Width, info.Height, len(content)
	return nil
}

// fileName is the last part of a URL's path, or its host.
func fileName(u *url.URL) string {
	if name := clean(path.Base(u.Path), 255); name != "" && name != "/" && name != "." {
		return name
	}
	return u.Hostname()
}

// Tidy forgets answers that have expired, and the oldest of too many.
func (s *Service) Tidy(ctx context.Context) error {
	const batch = 500
	for {
		var gone int64
		err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
			expired, err := s.options.Store.DeleteExpired(ctx, tx, s.options.Now().UnixMilli(), batch)
			if err != nil {
				return err
			}
			more, err := s.options.Store.DeleteOldest(ctx, tx, s.options.MaxAnswers, batch)
			gone = max(expired, more)
			return err
		})
		if err != nil || gone < batch {
			return err
		}
	}
}
