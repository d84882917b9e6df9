package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An Upload is content that a user sends.
type Upload struct {
	User        matrix.UserID
	ContentType string // empty: unknown
	FileName    string // empty: none
	Size        int64  // bytes, as far as announced; -1 if unknown
	Body        io.Reader
	Unlimited   bool // the user may have any number of bytes here
}

// idLength makes media IDs that cannot be guessed: 190 bits.
const idLength = 32

// maxFileName is the longest file name, in bytes; what file systems allow
// is shorter.
const maxFileName = 1024

// Upload keeps content under a new ID.
func (s *Service) Upload(ctx context.Context, u Upload) (URI, error) {
	if err := s.checkQuota(ctx, s.options.DB.Read(), u, max(u.Size, 0)); err != nil {
		return URI{}, err
	}
	entry, named, err := s.receive(ctx, u)
	if err != nil {
		return URI{}, err
	}
	uri := URI{s.options.ServerName, matrix.RandomString(idLength)}
	entry.Origin, entry.ID = uri.Server, uri.ID
	return uri, s.describe(ctx, u, entry, named, func(tx *database.Tx) error {
		added, err := s.options.Store.Insert(ctx, tx, *entry)
		if err == nil && !added {
			err = fmt.Errorf("the media ID %s exists", uri)
		}
		return err
	})
}

// describe stores what an upload is, and removes it again if it is one too many
// or hidden.
func (s *Service) describe(ctx context.Context, u Upload, entry *storage.MediaEntry, named func(), store func(*database.Tx) error) error {
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.checkQuota(ctx, tx, u, entry.Size); err != nil {
			return err
		}
		if by, err := s.options.Store.QuarantinedBy(ctx, tx, entry.Hash); err != nil {
			return err
		} else if by != "" {
			return errQuarantined
		}
		return store(tx)
	})
	named()
	if errors.Is(err, errQuota) || errors.Is(err, errQuarantined) {
		return errors.Join(err, s.removeFile(ctx, Hash(entry.Hash)))
	}
	return err
}

// errQuota is what the security considerations of Client-Server API § Content repository have.
var errQuota = matrix.Forbidden("You have uploaded as much as you may have here.")

// errQuarantined is for content that an operator has hidden.
var errQuarantined = matrix.Forbidden("The administrators of this server do not allow this file.")

// checkQuota is errQuota for so many bytes more than a user may have here.
func (s *Service) checkQuota(ctx context.Context, q database.Querier, u Upload, size int64) error {
	if s.options.MaxPerUser <= 0 || u.Unlimited {
		return nil
	}
	used, err := s.options.Store.SizeOf(ctx, q, u.User)
	if err == nil && used+size > s.options.MaxPerUser {
		err = errQuota
	}
	return err
}

// receive writes an upload down and describes it, without an ID. named has to
// be called once the description is stored.
func (s *Service) receive(ctx context.Context, u Upload) (_ *storage.MediaEntry, named func(), err error) {
	if err := checkFileName(u.FileName); err != nil {
		return nil, nil, err
	}
	if u.Size > s.options.MaxUpload {
		return nil, nil, s.tooLarge()
	}
	hash, size, named, err := s.keep(ctx, u.Body, s.options.MaxUpload)
	if err != nil {
		return nil, nil, err
	}
	return &storage.MediaEntry{
		Hash: hash[:], Size: size, ContentType: contentType(u.ContentType), FileName: u.FileName, User: u.User,
		CreatedAt: s.options.Now().UnixMilli(), Unauthenticated: s.options.AllowUnauthenticated,
	}, named, nil
}

func checkFileName(name string) error {
	if len(name) > maxFileName {
		return matrix.InvalidParam("The file name is longer than %d bytes.", maxFileName)
	}
	if strings.IndexByte(name, 0) >= 0 || !utf8.ValidString(name) {
		return matrix.InvalidParam("The file name has characters that are not allowed.")
	}
	return nil
}

func (s *Service) tooLarge() *matrix.Error {
	return matrix.TooLarge("Uploads may have up to %d bytes here.", s.options.MaxUpload)
}

// keep puts a stream of at most so many bytes among the files. named has to be
// called once the database says what the file is for.
func (s *Service) keep(ctx context.Context, body io.Reader, most int64) (hash Hash, size int64, named func(), err error) {
	draft, err := s.options.Files.Create(ctx)
	if err != nil {
		return hash, 0, nil, fmt.Errorf("begin a media file: %w", err)
	}
	defer draft.Discard()
	digest := sha256.New()
	size, err = io.CopyBuffer(io.MultiWriter(draft, digest),
		io.LimitReader(body, most+1), make([]byte, 64<<10))
	if err != nil {
		return hash, 0, nil, fmt.Errorf("receive a media file: %w", err)
	}
	if size > most {
		return hash, 0, nil, s.tooLarge()
	}
	digest.Sum(hash[:0])
	s.naming.RLock()
	if err := draft.Keep(ctx, hash); err != nil {
		s.naming.RUnlock()
		return hash, 0, nil, fmt.Errorf("keep media file %s: %w", hash, err)
	}
	return hash, size, s.naming.RUnlock, nil
}

// A Reservation asks for an ID whose content comes later.
type Reservation struct {
	User      matrix.UserID
	Unlimited bool // the user may have any number of them
}

// retryUnused is when a user with too many unused IDs should try again.
const retryUnused = 30 * time.Second

// Create makes an ID to which its user can upload until expires.
func (s *Service) Create(ctx context.Context, r Reservation) (uri URI, expires time.Time, err error) {
	now := s.options.Now()
	uri = URI{s.options.ServerName, matrix.RandomString(idLength)}
	expires = now.Add(s.options.UnusedLifetime).Truncate(time.Millisecond)
	entry := storage.MediaEntry{
		Origin: uri.Server, ID: uri.ID, User: r.User, CreatedAt: now.UnixMilli(), ExpiresAt: expires.UnixMilli(),
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if !r.Unlimited {
			unused, err := s.options.Store.Unused(ctx, tx, r.User, now.UnixMilli())
			if err != nil {
				return err
			}
			if unused >= s.options.MaxUnused {
				return matrix.LimitExceeded(retryUnused)
			}
		}
		// An upload that began in time may still be on its way.
		const grace = 24 * time.Hour
		if err := s.options.Store.DeleteUnused(ctx, tx, r.User, now.Add(-grace).UnixMilli()); err != nil {
			return err
		}
		_, err := s.options.Store.Insert(ctx, tx, entry)
		return err
	})
	return uri, expires, err
}

// Fill uploads to an ID that the same user created.
func (s *Service) Fill(ctx context.Context, uri URI, u Upload) error {
	if err := s.mayFill(ctx, uri, u.User); err != nil {
		return err
	}
	if err := s.checkQuota(ctx, s.options.DB.Read(), u, max(u.Size, 0)); err != nil {
		return err
	}
	entry, named, err := s.receive(ctx, u)
	if err != nil {
		return err
	}
	entry.Origin, entry.ID = uri.Server, uri.ID
	err = s.describe(ctx, u, entry, named, func(tx *database.Tx) error {
		filled, err := s.options.Store.Fill(ctx, tx, *entry)
		if err == nil && !filled {
			err = errFilled
		}
		return err
	})
	if errors.Is(err, errFilled) {
		return cannotOverwrite() // another upload was faster
	}
	if err == nil {
		s.arrivals.announce(uri)
	}
	return err
}

var errFilled = errors.New("the media ID has content")

func (s *Service) mayFill(ctx context.Context, uri URI, user matrix.UserID) error {
	var entry *storage.MediaEntry
	if s.local(uri) && ValidID(uri.ID) {
		var err error
		if entry, err = s.options.Store.Find(ctx, uri.Server, uri.ID); err != nil {
			return err
		}
	}
	switch {
	case entry == nil:
		return matrix.NotFound("There is no such media ID to upload to.")
	case entry.User != user:
		return matrix.Forbidden("Only the user who created this media ID can upload to it.")
	case entry.Hash != nil:
		return cannotOverwrite()
	case entry.ExpiresAt <= s.options.Now().UnixMilli():
		return matrix.NotFound("This media ID has expired.")
	}
	return nil
}

func cannotOverwrite() error {
	return matrix.NewError(http.StatusConflict, "M_CANNOT_OVERWRITE_MEDIA", "Something has been uploaded to this media ID already.")
}
