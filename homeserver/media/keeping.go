package media

import (
	"context"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An Entry is what is known of one media ID.
type Entry = storage.MediaEntry

// usedEvery is how exactly the last use of media is known.
const usedEvery = 24 * time.Hour

// used notes that media were asked for. Nobody waits for it.
func (s *Service) used(entry *storage.MediaEntry) {
	now := s.options.Now()
	if now.UnixMilli()-max(entry.UsedAt, entry.CreatedAt) < usedEvery.Milliseconds() {
		return
	}
	id := storage.MediaID{Origin: entry.Origin, ID: entry.ID}
	s.options.DB.Enqueue(func(tx *database.Tx) error {
		return s.options.Store.Touch(context.Background(), tx, id, now.UnixMilli())
	}, func(err error) {
		if err != nil {
			s.options.Log.Warn("last use of media not written down", "media", id, "err", err)
		}
	})
}

func mediaID(uri URI) storage.MediaID { return storage.MediaID{Origin: uri.Server, ID: uri.ID} }

// Entry is what is known of media, hidden or not; M_NOT_FOUND without any.
func (s *Service) Entry(ctx context.Context, uri URI) (*Entry, error) {
	entry, err := s.options.Store.Find(ctx, uri.Server, uri.ID)
	if err == nil && entry == nil {
		err = notFound()
	}
	return entry, err
}

// Quarantine hides media from everybody, and says how many it did: those that
// are not here or protected it does not. The same bytes under other IDs are
// hidden with them, and refused to those who upload them later (M_FORBIDDEN),
// unless they are protected under one of their IDs.
func (s *Service) Quarantine(ctx context.Context, by matrix.UserID, uris ...URI) (count int64, err error) {
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		count = 0
		for _, uri := range uris {
			hidden, err := s.options.Store.Quarantine(ctx, tx, mediaID(uri), by)
			if err != nil {
				return err
			}
			if hidden {
				count++
			}
		}
		return nil
	})
	return count, err
}

// Release shows hidden media again, and allows their content. This goes by the ID
// of media that were deleted, too, if their content was hidden by it.
func (s *Service) Release(ctx context.Context, uri URI) error {
	return s.change(ctx, func(tx *database.Tx) (bool, error) { return s.options.Store.Release(ctx, tx, mediaID(uri)) })
}

// QuarantineOfUser does so with all that a user has uploaded.
func (s *Service) QuarantineOfUser(ctx context.Context, by, user matrix.UserID) (count int64, err error) {
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		count, err = s.options.Store.QuarantineOfUser(ctx, tx, user, by)
		return err
	})
	return count, err
}

// Protect keeps media of this server from being hidden, or no longer.
func (s *Service) Protect(ctx context.Context, id string, protected bool) error {
	uri := URI{s.options.ServerName, id}
	return s.change(ctx, func(tx *database.Tx) (bool, error) { return s.options.Store.Protect(ctx, tx, mediaID(uri), protected) })
}

func (s *Service) change(ctx context.Context, fn func(*database.Tx) (bool, error)) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		found, err := fn(tx)
		if err == nil && !found {
			err = notFound()
		}
		return err
	})
}

// OfUser is a page of what a user has uploaded, and how many there are.
func (s *Service) OfUser(ctx context.Context, user matrix.UserID, from, limit int64) ([]Entry, int64, error) {
	return s.options.Store.OfUser(ctx, user, from, limit)
}

// Delete removes media with their files, unless these are other media too;
// M_NOT_FOUND without any.
func (s *Service) Delete(ctx context.Context, uri URI) error {
	entry, err := s.Entry(ctx, uri)
	if err != nil {
		return err
	}
	var files [][]byte
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if _, err := s.options.Store.Delete(ctx, tx, mediaID(uri)); err != nil || entry.Hash == nil {
			return err
		}
		thumbnails, err := s.options.Store.DropThumbnails(ctx, tx, entry.Hash)
		files = append(thumbnails, entry.Hash)
		return err
	})
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := s.removeFile(ctx, Hash(file)); err != nil {
			return err
		}
	}
	return nil
}

// removeFile removes a file that is for nothing any more.
func (s *Service) removeFile(ctx context.Context, hash Hash) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	used, err := s.options.Store.FileInUse(ctx, s.options.DB.Read(), hash[:])
	if err != nil || used {
		return err
	}
	return s.options.Files.Delete(ctx, hash)
}

// A Sweep says which media are to be deleted: those that nobody has asked for
// since a time, neither hidden nor protected.
type Sweep struct {
	Remote       bool      // of other servers, else of this one
	Ownless      bool      // only those of this one that no user has uploaded
	Before       time.Time // not used since
	LargerThan   int64     // bytes
	KeepProfiles bool      // not those that are somebody's avatar
}

// sweepBatch is how many are looked for at once.
const sweepBatch = 100

// Sweep deletes media, and returns which.
func (s *Service) Sweep(ctx context.Context, w Sweep) (deleted []URI, err error) {
	query := storage.StaleMedia{
		Server: s.options.ServerName, Remote: w.Remote, Ownless: w.Ownless, Before: w.Before.UnixMilli(),
		MinSize: w.LargerThan, Keep: w.KeepProfiles, Limit: sweepBatch,
	}
	for ctx.Err() == nil {
		list, err := s.options.Store.Stale(ctx, query)
		if err != nil || len(list) == 0 {
			return deleted, err
		}
		for _, id := range list {
			uri := URI{id.Origin, id.ID}
			if err := s.Delete(ctx, uri); err != nil && matrix.Code(err) != "M_NOT_FOUND" {
				return deleted, err
			}
			deleted = append(deleted, uri)
		}
	}
	return deleted, ctx.Err()
}

// A Retention is how long media stay that nobody asks for; 0 is for ever.
type Retention struct{ Local, Remote, Previews time.Duration }

// Expire deletes what nobody has asked for in so long.
func (s *Service) Expire(ctx context.Context, r Retention) error {
	now := s.options.Now()
	for _, w := range []struct {
		after time.Duration
		sweep Sweep
	}{
		{r.Previews, Sweep{Ownless: true}},
		{r.Local, Sweep{KeepProfiles: true}},
		{r.Remote, Sweep{Remote: true}},
	} {
		if w.after <= 0 {
			continue
		}
		w.sweep.Before = now.Add(-w.after)
		deleted, err := s.Sweep(ctx, w.sweep)
		if len(deleted) > 0 {
			s.options.Log.InfoContext(ctx, "media deleted that nobody asked for", "count", len(deleted), "remote", w.sweep.Remote)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
