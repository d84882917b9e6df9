package search

import (
	"context"

	"trestle/internal/database"
)

// Step takes as much at once as the reader ever does, and says how far it has come.
func (s *Service) Step(ctx context.Context, upTo int64) (cursor int64, behind bool, err error) {
	s.portion = database.NewPortion(maxBatch, maxBatch)
	_, behind, err = s.advance(ctx, upTo)
	return s.cursor, behind, err
}
