package media

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"trestle/homeserver/media/picture"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// Options are what a [Service] works with. ServerName, DB, Store, Files and
// MaxUpload are needed.
type Options struct {
	ServerName matrix.ServerName
	DB         *database.DB
	Store      *storage.Media
	Files      Files
	Remote     Remote // nil: media of other servers are not found

	MaxUpload  int64          // bytes
	MaxPerUser int64          // bytes that a user may have here; 0: any number
	MaxFetched int64          // bytes of what the server has fetched itself; 0: any number
	MaxRemote  int64          // bytes of media of other servers; 0: any number
	MaxPixels  int64          // of pictures that get thumbnails; default 32 million
	Thumbnails []picture.Size // that are made
	// AllowUnauthenticated serves all media at the endpoints without
	// authentication. Without it these are frozen: they serve only what came
	// while it was allowed (Client-Server API § Content repository).
	AllowUnauthenticated bool
	// MaxUnused is how many media IDs a user may have that wait for an
	// upload; default 20.
	MaxUnused int
	// UnusedLifetime is how long they wait; default a day.
	UnusedLifetime time.Duration
	// ThumbnailTime is the longest that making a thumbnail may take; default
	// 30 seconds.
	ThumbnailTime time.Duration

	Now func() time.Time
	Log *slog.Logger
}

// Remote is where media of other servers come from.
type Remote interface {
	// Download asks the server of a URI for its content. M_NOT_FOUND and
	// M_NOT_YET_UPLOADED are passed on.
	Download(ctx context.Context, uri URI) (*Download, error)
}

// A Download is content on its way here. The body has to be closed.
type Download struct {
	ContentType string
	FileName    string
	Body        io.ReadCloser
}

// Service is the content repository of one homeserver.
type Service struct {
	options  Options
	arrivals arrivals
	fetches  flights[URI, struct{}]
	renders  flights[renderKey, Thumbnail]
	// pixels is how many may be decoded at the same time.
	pixels   *semaphore.Weighted
	pictures *lru.Cache[Hash, verdict]
	// fetched is held by whoever adds to what the server has fetched.
	fetched *semaphore.Weighted
	// trimming is held by whoever makes room among the media of other servers.
	trimming *semaphore.Weighted
	// naming is held for reading from before a file gets its name until the
	// database says what it is for, and for writing while a file that is for
	// nothing is removed.
	naming sync.RWMutex
}

// verdict is what is known of a content as a picture: what it is, or why there
// are no thumbnails of it.
type verdict struct {
	info picture.Info
	err  error
}

// knownPictures is how many verdicts are remembered.
const knownPictures = 4096

// New makes the service.
func New(options Options) *Service {
	if options.MaxPixels <= 0 {
		options.MaxPixels = 32_000_000
	}
	if options.MaxUnused <= 0 {
		options.MaxUnused = 20
	}
	if options.UnusedLifetime <= 0 {
		options.UnusedLifetime = 24 * time.Hour
	}
	if options.ThumbnailTime <= 0 {
		options.ThumbnailTime = 30 * time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	return &Service{
		options: options, pixels: semaphore.NewWeighted(options.MaxPixels),
		pictures: lru.New[Hash, verdict](knownPictures, nil), fetched: semaphore.NewWeighted(1), trimming: semaphore.NewWeighted(1),
	}
}

// MaxUpload is the size of the largest upload, in bytes.
func (s *Service) MaxUpload() int64 { return s.options.MaxUpload }

// weight is how much of pixels a picture takes: at least what leaves as many
// others as there are processors.
func (s *Service) weight(info picture.Info) int64 {
	least := s.options.MaxPixels / int64(runtime.GOMAXPROCS(0))
	return min(max(info.Pixels(), least, 1), s.options.MaxPixels)
}

func (s *Service) local(uri URI) bool { return uri.Server == s.options.ServerName }
