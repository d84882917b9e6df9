package media

import (
	"bytes"
	"context"
	"crypto/sha256"

	"trestle/internal/matrix"
)

// A Fetched is content that this server has fetched for its users: nobody's
// upload, and counted as nobody's.
type Fetched struct {
	ContentType string
	FileName    string
	Content     []byte
}

// KeepFetched keeps such content, once however often it comes. All of it
// together has at most MaxFetched bytes: what nobody has asked for longest
// makes room, unless it is hidden or protected. Errors: M_FORBIDDEN for what is
// hidden, or larger than all of it may be.
func (s *Service) KeepFetched(ctx context.Context, f Fetched) (uri URI, err error) {
	// One at a time, so that two do not take the same room.
	if err := s.fetched.Acquire(ctx, 1); err != nil {
		return URI{}, err
	}
	defer s.fetched.Release(1)
	u := Upload{
		ContentType: f.ContentType, FileName: f.FileName, Size: int64(len(f.Content)), Body: bytes.NewReader(f.Content), Unlimited: true,
	}
	hash := sha256.Sum256(f.Content)
	if known, err := s.keptAlready(ctx, hash, contentType(f.ContentType)); err != nil || known != (URI{}) {
		return known, err
	}
	if err := s.makeRoom(ctx, u.Size); err != nil {
		return URI{}, err
	}
	return s.Upload(ctx, u)
}

// keptAlready is the URI of fetched content that is here, which is in use again.
func (s *Service) keptAlready(ctx context.Context, hash Hash, contentType string) (uri URI, err error) {
	read := s.options.DB.Read()
	id, err := s.options.Store.OwnlessOf(ctx, read, s.options.ServerName, hash[:], contentType)
	if err != nil || id == "" {
		return URI{}, err
	}
	uri = URI{s.options.ServerName, id}
	entry, err := s.options.Store.Find(ctx, uri.Server, uri.ID)
	if err != nil || entry == nil {
		return URI{}, err
	}
	s.used(entry)
	return uri, nil
}

// makeRoom deletes fetched content until there is room for so many bytes more.
func (s *Service) makeRoom(ctx context.Context, size int64) error {
	most := s.options.MaxFetched
	if most <= 0 {
		return nil
	}
	if size > most {
		return errQuota
	}
	used, err := s.options.Store.SizeOfOwnless(ctx, s.options.ServerName)
	for err == nil && used+size > most {
		used, err = s.deleteFetched(ctx, used, most-size)
	}
	return err
}

// deleteFetched deletes the oldest of some fetched content, as long as all of it
// has more bytes than it shall, and returns how many are left.
func (s *Service) deleteFetched(ctx context.Context, used, most int64) (int64, error) {
	list, err := s.options.Store.OldestOwnless(ctx, s.options.ServerName, sweepBatch)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	for _, m := range list {
		if used <= most {
			break
		}
		if err := s.Delete(ctx, URI{s.options.ServerName, m.ID}); err != nil && matrix.Code(err) != "M_NOT_FOUND" {
			return used, err
		}
		used -= m.Size
	}
	return used, nil
}

// TrimFetched deletes the fetched content that is too much, as after MaxFetched
// became less.
func (s *Service) TrimFetched(ctx context.Context) error {
	if err := s.fetched.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.fetched.Release(1)
	return s.makeRoom(ctx, 0)
}

// Serves reports whether media of this server can be had: they are here, and
// nobody has hidden them.
func (s *Service) Serves(ctx context.Context, uri URI) (bool, error) {
	entry, err := s.options.Store.Find(ctx, uri.Server, uri.ID)
	return err == nil && entry != nil && entry.Hash != nil && entry.QuarantinedBy == "", err
}
