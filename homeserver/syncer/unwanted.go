package syncer

import (
	"context"
	"encoding/json"

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
	read, err := accounts.UnwantedOf(func(dataType string) (json.RawMessage, error) {
		content, err := s.AccountData.AccountData(ctx, user, "", dataType)
		if matrix.Code(err) == "M_NOT_FOUND" {
			return nil, nil
		}
		return content, err
	})
	if err != nil {
		return nil, err
	}
	s.unwanted.Put(user, &unwanted{read, snap.Position})
	return read, nil
}
