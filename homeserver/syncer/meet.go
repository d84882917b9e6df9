package syncer

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"trestle/internal/matrix"
)

// Meet brings into memory what answers need to know of a user: its rooms and, while these
// are read, whom it does not want to hear from and what it has not read.
func (s *Service) Meet(ctx context.Context, user matrix.UserID) error {
	position := s.Notifier.Position()
	return Together(
		func() error {
			_, err := s.Notifier.User(ctx, user)
			return err
		},
		func() error {
			if _, known := s.unwanted.Get(user); !known {
				if _, err := s.readUnwanted(ctx, user, position); err != nil {
					return err
				}
			}
			if s.Unread == nil {
				return nil
			}
			_, err := s.Unread.Counts(ctx, user, 0, 0) // of any room: it reads those of all
			return err
		},
	)
}

// Together does several things at the same time that mostly wait for the database, and
// returns when all are done.
func Together(all ...func() error) error {
	var group errgroup.Group
	for _, do := range all {
		group.Go(func() (err error) {
			defer func() {
				if cause := recover(); cause != nil {
					err = fmt.Errorf("panic while an answer was made: %v\n%s", cause, debug.Stack())
				}
			}()
			return do()
		})
	}
	return group.Wait()
}
