package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Media holds what media IDs stand for, and which thumbnails exist. The bytes
// are kept elsewhere, by their hashes.
type Media struct{ db *database.DB }

// NewMedia prepares the subject for tests and services that need no other.
func NewMedia(db *database.DB) *Media { return &Media{db: db} }

// A MediaEntry is one media ID.
type MediaEntry struct {
	Origin          matrix.ServerName
	ID              string
	Hash            []byte // SHA-256; nil while nothing has been uploaded
	Size            int64
	ContentType     string
	FileName        string
	User            matrix.UserID // who uploaded it, or has the ID; empty for remote media
	CreatedAt       int64
	ExpiresAt       int64         // of an ID without content; else 0
	Unauthenticated bool          // may be served without authentication
	UsedAt          int64         // when it was last asked for, to the day; 0: never
	QuarantinedBy   matrix.UserID // who hid it, or empty
	Protected       bool          // cannot be hidden
}

// A MediaThumbnail is a thumbnail that has been made of a picture.
type MediaThumbnail struct {
	Hash          []byte // of the picture
	Width, Height int
	Method        string
	Animated      bool
	Thumbnail     []byte // hash of the thumbnail
	ContentType   string
	Size          int64
	CreatedAt     int64
}

var (
	insertMedia = database.SQL(`
		INSERT INTO media (origin, media_id, hash, size, content_type, file_name, user_id, created_at, expires_at, unauthenticated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (origin, media_id) DO NOTHING`)
	selectMedia = database.SQL(`
		SELECT hash, size, content_type, file_name, user_id, created_at, expires_at, unauthenticated,
			COALESCE(used_at, 0), COALESCE(quarantined_by, ''), protected
		FROM media
		WHERE origin = $1 AND media_id = $2`)
	fillMedia = database.SQL(`
		UPDATE media
		SET hash = $3, size = $4, content_type = $5, file_name = $6, unauthenticated = $7, expires_at = NULL
		WHERE origin = $1 AND media_id = $2 AND hash IS NULL`)
	countUnusedMedia = database.SQL(`
		SELECT COUNT(*)
		FROM media
		WHERE hash IS NULL AND user_id = $1 AND expires_at > $2`)
	sumMediaOfUser = database.SQL(`
		SELECT COALESCE(SUM(size), 0)::BIGINT
		FROM media
		WHERE user_id = $1`)
	deleteUnusedMedia = database.SQL(`
		DELETE FROM media
		WHERE hash IS NULL AND user_id = $1 AND expires_at <= $2`)
	upsertThumbnail = database.SQL(`
		INSERT INTO media_thumbnails (hash, width, height, method, animated, thumbnail_hash, content_type, size, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (hash, width, height, method, animated) DO UPDATE
		SET thumbnail_hash = excluded.thumbnail_hash, content_type = excluded.content_type, size = excluded.size,
			created_at = excluded.created_at`)
	selectThumbnail = database.SQL(`
		SELECT thumbnail_hash, content_type, size, created_at
		FROM media_thumbnails
		WHERE hash = $1 AND width = $2 AND height = $3 AND method = $4 AND animated = $5`)
)

// Insert stores an entry; false if there is one of that ID already.
func (s *Media) Insert(ctx context.Context, tx *database.Tx, m MediaEntry) (bool, error) {
	var user, expires any
	if m.User != "" {
		user = m.User
	}
	if m.ExpiresAt != 0 {
		expires = m.ExpiresAt
	}
	n, err := tx.Exec(ctx, insertMedia, m.Origin, m.ID, m.Hash, m.Size, m.ContentType, m.FileName, user,
		m.CreatedAt, expires, m.Unauthenticated)
	return n > 0, err
}

// Find is the entry of an ID, or nil.
func (s *Media) Find(ctx context.Context, origin matrix.ServerName, id string) (*MediaEntry, error) {
	m := MediaEntry{Origin: origin, ID: id}
	var user *matrix.UserID
	var expires *int64
	err := s.db.Read().QueryRow(ctx, selectMedia, origin, id).Scan(&m.Hash, &m.Size, &m.ContentType, &m.FileName, &user,
		&m.CreatedAt, &expires, &m.Unauthenticated, &m.UsedAt, &m.QuarantinedBy, &m.Protected)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if user != nil {
		m.User = *user
	}
	if expires != nil {
		m.ExpiresAt = *expires
	}
	return &m, nil
}

// Fill gives an ID its content; false if it has some, or there is no such ID.
func (s *Media) Fill(ctx context.Context, tx *database.Tx, m MediaEntry) (bool, error) {
	n, err := tx.Exec(ctx, fillMedia, m.Origin, m.ID, m.Hash, m.Size, m.ContentType, m.FileName, m.Unauthenticated)
	return n > 0, err
}

// Unused is how many IDs a user has that may still be uploaded to.
func (s *Media) Unused(ctx context.Context, q database.Querier, user matrix.UserID, now int64) (int, error) {
	var n int
	err := q.QueryRow(ctx, countUnusedMedia, user, now).Scan(&n)
	return n, err
}

// SizeOf is how many bytes a user has uploaded that are here.
func (s *Media) SizeOf(ctx context.Context, q database.Querier, user matrix.UserID) (int64, error) {
	var n int64
	err := q.QueryRow(ctx, sumMediaOfUser, user).Scan(&n)
	return n, err
}

// DeleteUnused forgets those IDs of a user that expired without an upload.
func (s *Media) DeleteUnused(ctx context.Context, tx *database.Tx, user matrix.UserID, until int64) error {
	_, err := tx.Exec(ctx, deleteUnusedMedia, user, until)
	return err
}

// AddThumbnail stores that a thumbnail has been made.
func (s *Media) AddThumbnail(ctx context.Context, tx *database.Tx, t MediaThumbnail) error {
	_, err := tx.Exec(ctx, upsertThumbnail, t.Hash, t.Width, t.Height, t.Method, t.Animated,
		t.Thumbnail, t.ContentType, t.Size, t.CreatedAt)
	return err
}

// Thumbnail fills in the rest of a thumbnail, given its picture and size;
// false if it has not been made.
func (s *Media) Thumbnail(ctx context.Context, t *MediaThumbnail) (bool, error) {
	err := s.db.Read().QueryRow(ctx, selectThumbnail, t.Hash, t.Width, t.Height, t.Method, t.Animated).Scan(
		&t.Thumbnail, &t.ContentType, &t.Size, &t.CreatedAt)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}
