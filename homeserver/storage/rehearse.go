package storage

import (
	"context"
	"sync"

	"trestle/internal/database"
)

// rehearsed are the questions behind a client's first answer, with arguments for
// which there is nothing.
func rehearsed() []rehearsal {
	none, names, nobody := []int64{0}, []string{""}, ""
	return []rehearsal{
		{selectToken, []any{[]byte(nobody)}},
		{selectUserNIDs, []any{names}},
		{selectMembershipsOfUser, []any{int64(0)}},
		{selectStandings, []any{none}},
		{selectAccountData, []any{nobody, nobody, nobody}},
		{selectGlobalData, []any{nobody, names}},
		{selectGlobalDataSince, []any{nobody, int64(0), int64(0)}},
		{selectRoomDataSince, []any{nobody, int64(0), int64(0)}},
		{selectDataOfRooms, []any{nobody, names, int64(0)}},
		{selectPushRules, []any{nobody}},
		{selectRooms, []any{none}},
		{selectKeysOfRooms, []any{none}},
		{selectStateNodes, []any{none}},
		{selectNewestOfRooms, []any{none, int64(0), int64(0), int64(0)}},
		{selectEventsByNID, []any{none}},
		{selectWithChildren, []any{names}},
		{selectReceiptsOfRooms, []any{none, int64(0), nobody, int64(1)}},
		{selectUnreadOfUser, []any{int64(0)}},
		{selectOldestToDevice, []any{nobody, nobody}},
		{countOneTimeKeys, []any{nobody, nobody}},
		{selectUnusedFallbackKeys, []any{nobody, nobody}},
	}
}

type rehearsal struct {
	stmt *database.Statement
	args []any
}

// rehearsals is how many connections rehearse: for a first answer, and for
// whoever reads in the background meanwhile.
const rehearsals = 2

// Rehearse asks on some reading connections what clients' first answers ask, and
// keeps these connections until the channel is closed, so that they are the ones that are
// used next. A connection's first question about a table costs several times what the
// later ones do, because the database has to learn of the table; after a start, when all
// clients come back, it would be they who wait.
func Rehearse(ctx context.Context, db *database.DB, until <-chan struct{}) error {
	// The others are for whoever does something else meanwhile.
	errs := make([]error, min(rehearsals, db.Readers()-1))
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = db.View(ctx, func(q database.Querier) error {
				for _, r := range rehearsed() {
					if err := rehearse(ctx, q, r); err != nil {
						return err
					}
				}
				<-until
				return nil
			})
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func rehearse(ctx context.Context, q database.Querier, r rehearsal) error {
	rows, err := q.Query(ctx, r.stmt, r.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		continue // there is nothing
	}
	return rows.Err()
}
