package syncer

import (
	"context"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/internal/matrix"
)

// unwantedBudget bounds the users and patterns that are remembered.
const unwantedBudget = 200_000

// unwanted is what was read of a user's account data at a position.
type unwanted struct {
	*accounts.Unwanted
	position int64
}

// Unwanted is whom a user does not want to hear from, mostly from memory.
func (s *Service) Unwanted(ctx context.Context, user matrix.UserID, snap *notifier.Snapshot) (*accounts.Unwanted, error) {
	if known, ok := s.unwanted.Get(user); ok && !snap.Changed(notifier.AccountData, known.position) {
		return known.Unwanted, nil
	}
	return s.readUnwanted(ctx, user, snap.Position)
}

// readUnwanted reads it, as it is at a position or later.
func (s *Service) readUnwanted(ctx context.Context, user matrix.UserID, position int64) (*accounts.Unwanted, error) {
	read, err := s.AccountData.Unwanted(ctx, user)
	if err != nil {
		return nil, err
	}
	s.unwanted.Put(user, &unwanted{read, position})
	return read, nil
}
