package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Hidden media. What is hidden is an ID and, unless that is protected under
// another one, its content under all IDs, those of later uploads included.

const (
	// unprotected is of m, which is media: its content is not protected.
	unprotected = `NOT EXISTS (SELECT 1 FROM media p WHERE p.hash = m.hash AND p.protected)`
	// hiddenContent is the hidden content of the ID in $1 and $2, or that was hidden by it.
	hiddenContent = `
		SELECT q.hash
		FROM media_quarantine q
		WHERE q.origin = $1 AND q.media_id = $2
			OR q.hash = (SELECT m.hash FROM media m WHERE m.origin = $1 AND m.media_id = $2)`
)

var (
	// Protected media stay as they are.
	quarantineMedia = database.SQL(`
		UPDATE media
		SET quarantined_by = $3
		WHERE origin = $1 AND media_id = $2 AND NOT protected`)
	insertMediaQuarantine = database.SQL(`
		INSERT INTO media_quarantine (hash, origin, media_id, quarantined_by)
		SELECT m.hash, m.origin, m.media_id, m.quarantined_by
		FROM media m
		WHERE m.origin = $1 AND m.media_id = $2 AND m.hash IS NOT NULL AND m.quarantined_by IS NOT NULL AND ` + unprotected + `
		ON CONFLICT (hash) DO NOTHING`)
	quarantineSameMedia = database.SQL(`
		UPDATE media
		SET quarantined_by = $3
		WHERE quarantined_by IS NULL AND NOT protected AND hash IN (` + hiddenContent + `)`)
	quarantineMediaOfUser = database.SQL(`
		UPDATE media
		SET quarantined_by = $2
		WHERE user_id = $1 AND quarantined_by IS NULL AND NOT protected`)
	insertMediaQuarantineOfUser = database.SQL(`
		INSERT INTO media_quarantine (hash, origin, media_id, quarantined_by)
		SELECT m.hash, MIN(m.origin), MIN(m.media_id), MIN(m.quarantined_by)
		FROM media m
		WHERE m.user_id = $1 AND m.hash IS NOT NULL AND m.quarantined_by IS NOT NULL AND ` + unprotected + `
		GROUP BY m.hash
		ON CONFLICT (hash) DO NOTHING`)
	quarantineSameMediaOfUser = database.SQL(`
		UPDATE media
		SET quarantined_by = $2
		WHERE quarantined_by IS NULL AND NOT protected AND hash IN (
			SELECT m.hash
			FROM media m
			JOIN media_quarantine q ON q.hash = m.hash
			WHERE m.user_id = $1)`)
	selectMediaQuarantine = database.SQL(`
		SELECT quarantined_by
		FROM media_quarantine
		WHERE hash = $1`)
	releaseMedia = database.SQL(`
		UPDATE media
		SET quarantined_by = NULL
		WHERE origin = $1 AND media_id = $2`)
	releaseSameMedia = database.SQL(`
		UPDATE media
		SET quarantined_by = NULL
		WHERE quarantined_by IS NOT NULL AND hash IN (` + hiddenContent + `)`)
	deleteMediaQuarantine = database.SQL(`
		DELETE FROM media_quarantine
		WHERE hash IN (` + hiddenContent + `)`)
)

// Quarantine hides media and their content, and says whether it did: not where
// they are protected, or unknown.
func (s *Media) Quarantine(ctx context.Context, tx *database.Tx, id MediaID, by matrix.UserID) (bool, error) {
	n, err := tx.Exec(ctx, quarantineMedia, id.Origin, id.ID, by)
	if err != nil || n == 0 {
		return false, err
	}
	if _, err := tx.Exec(ctx, insertMediaQuarantine, id.Origin, id.ID); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, quarantineSameMedia, id.Origin, id.ID, by)
	return true, err
}

// QuarantineOfUser hides all that a user has uploaded, with its content, and
// says how many media of the user.
func (s *Media) QuarantineOfUser(ctx context.Context, tx *database.Tx, user, by matrix.UserID) (int64, error) {
	n, err := tx.Exec(ctx, quarantineMediaOfUser, user, by)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, insertMediaQuarantineOfUser, user); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, quarantineSameMediaOfUser, user, by)
	return n, err
}

// QuarantinedBy is who has hidden content, or empty.
func (s *Media) QuarantinedBy(ctx context.Context, q database.Querier, hash []byte) (matrix.UserID, error) {
	var by matrix.UserID
	err := q.QueryRow(ctx, selectMediaQuarantine, hash).Scan(&by)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return by, err
}

// Release shows media and their content again that were hidden; false if there
// are none of that ID, and none was hidden by it.
func (s *Media) Release(ctx context.Context, tx *database.Tx, id MediaID) (bool, error) {
	shown, err := tx.Exec(ctx, releaseMedia, id.Origin, id.ID)
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, releaseSameMedia, id.Origin, id.ID); err != nil {
		return false, err
	}
	allowed, err := tx.Exec(ctx, deleteMediaQuarantine, id.Origin, id.ID)
	return shown+allowed > 0, err
}
