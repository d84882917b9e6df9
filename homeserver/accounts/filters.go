package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"strconv"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

const maxFilter = 64 << 10 // bytes

// AddFilter checks and keeps a filter and returns its ID. A filter that the
// user has uploaded before keeps its ID: clients upload theirs at each start.
func (s *Service) AddFilter(ctx context.Context, user matrix.UserID, filter json.RawMessage) (string, error) {
	if _, err := ParseFilter(filter); err != nil {
		return "", err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, filter); err != nil {
		return "", matrix.NotJSON("The filter is not valid JSON.")
	}
	if compact.Len() > maxFilter {
		return "", matrix.TooLarge("A filter has at most %d bytes.", maxFilter)
	}
	hash := sha256.Sum256(compact.Bytes())
	store := s.options.Store.Filters
	id, err := store.IDByHash(ctx, s.options.DB.Read(), user, hash[:])
	if err == nil && id == 0 {
		err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
			var err error
			if id, err = store.IDByHash(ctx, tx, user, hash[:]); err != nil || id != 0 {
				return err
			}
			if id, err = store.LastID(ctx, tx, user); err != nil {
				return err
			}
			id++
			return store.Insert(ctx, tx, user, id, hash[:], compact.Bytes())
		})
	}
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(id, 10), nil
}

// Filter is a filter that the user has uploaded, as it was, or M_NOT_FOUND.
func (s *Service) Filter(ctx context.Context, user matrix.UserID, id string) (json.RawMessage, error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, noSuchFilter()
	}
	filter, err := s.options.Store.Filters.Find(ctx, user, number)
	if err == nil && filter == nil {
		err = noSuchFilter()
	}
	return filter, err
}

func noSuchFilter() error { return matrix.NotFound("There is no such filter.") }
