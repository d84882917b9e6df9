package media

import (
	"context"

	"trestle/internal/matrix"
)

// fetchAndTrim fetches media of another server. All of these together have a budget: what nobody has asked for
// longest goes, and can be fetched again. Users choose what is fetched, and have servers of their own.
func (s *Service) fetchAndTrim(uri URI) func(context.Context) (struct{}, error) {
	fetch := s.fetch(uri)
	return func(ctx context.Context) (struct{}, error) {
		none, err := fetch(ctx)
		if err != nil || !s.trimming.TryAcquire(1) {
			return none, err // whoever trims now leaves little to the next one
		}
		defer s.trimming.Release(1)
		if err := s.trimRemote(ctx, uri); err != nil && ctx.Err() == nil {
			s.options.Log.WarnContext(ctx, "media of other servers have more room than they should", "err", err)
		}
		return none, nil
	}
}

// TrimRemote deletes the media of other servers that are too much, as after MaxRemote became less.
func (s *Service) TrimRemote(ctx context.Context) error {
	if err := s.trimming.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.trimming.Release(1)
	return s.trimRemote(ctx, URI{})
}

// trimRemote deletes until there is not too much, and leaves one that somebody waits for.
func (s *Service) trimRemote(ctx context.Context, wanted URI) error {
	most := s.options.MaxRemote
	if most <= 0 {
		return nil
	}
	used, err := s.options.Store.SizeOfRemote(ctx, s.options.ServerName)
	for err == nil && used > most {
		deleted := int64(0)
		list, failed := s.options.Store.OldestRemote(ctx, s.options.ServerName, sweepBatch)
		if failed != nil {
			return failed
		}
		for _, m := range list {
			uri := URI{m.Origin, m.ID}
			if used-deleted <= most || uri == wanted {
				continue
			}
			if err := s.Delete(ctx, uri); err != nil && matrix.Code(err) != "M_NOT_FOUND" {
				return err
			}
			deleted += m.Size
		}
		if deleted == 0 {
			return nil
		}
		used -= deleted
	}
	return err
}
