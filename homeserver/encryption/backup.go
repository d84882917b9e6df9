package encryption

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A BackedUpSession is a session's key in a backup, as storage has it.
type BackedUpSession = storage.BackedUpSession

const (
	maxAuthDataSize = 16 << 10 // bytes
	maxSessionData  = 64 << 10 // bytes, of one session
	// maxBackedUpSessions bounds one version of a backup.
	maxBackedUpSessions = 200_000
)

// A Backup is one version of a user's key backup.
type Backup struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Count     int64           `json:"count"`
	ETag      string          `json:"etag"`
	Version   string          `json:"version"`
}

// BackupStatus is what a version holds after a change.
type BackupStatus struct {
	Count int64  `json:"count"`
	ETag  string `json:"etag"`
}

// CreateBackup makes a new version of a user's backup, which is the current
// one from then on, and returns its name.
func (s *Service) CreateBackup(ctx context.Context, user matrix.UserID, algorithm string, authData json.RawMessage) (string, error) {
	if err := checkAuthData(algorithm, authData); err != nil {
		return "", err
	}
	var version int64
	err := s.store.DB.Update(ctx, func(tx *database.Tx) (err error) {
		version, err = s.keys.Backups.Create(ctx, tx, user, algorithm, authData)
		return err
	})
	return strconv.FormatInt(version, 10), err
}

func checkAuthData(algorithm string, authData json.RawMessage) error {
	if algorithm == "" || !isName(algorithm) {
		return matrix.InvalidParam("%.80q is no algorithm.", algorithm)
	}
	if len(authData) > maxAuthDataSize {
		return matrix.TooLarge("auth_data has more than %d bytes.", maxAuthDataSize)
	}
	_, err := object(authData, "auth_data")
	return err
}

// Backup is a version of a user's backup, the current one if the name is
// empty; M_NOT_FOUND if there is none.
func (s *Service) Backup(ctx context.Context, user matrix.UserID, version string) (*Backup, error) {
	read := s.store.DB.Read()
	var found *storage.KeyBackup
	var err error
	if version == "" {
		found, err = s.keys.Backups.Current(ctx, read, user)
	} else {
		found, err = s.findBackup(ctx, read, user, version)
	}
	if err != nil {
		return nil, err
	}
	if found == nil || found.Deleted {
		return nil, noBackup()
	}
	status, err := s.backupStatus(ctx, user, found.Version)
	if err != nil {
		return nil, err
	}
	return &Backup{
		Algorithm: found.Algorithm, AuthData: found.AuthData, Count: status.Count, ETag: status.ETag,
		Version: strconv.FormatInt(found.Version, 10),
	}, nil
}

func noBackup() error { return matrix.NotFound("There is no such key backup.") }

// findBackup is a version, deleted or not; nil if there never was one of that name.
func (s *Service) findBackup(ctx context.Context, q database.Querier, user matrix.UserID, version string) (*storage.KeyBackup, error) {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != version {
		return nil, nil
	}
	return s.keys.Backups.Find(ctx, q, user, n)
}

// existingBackup is the number of a version that is not deleted, or M_NOT_FOUND.
func (s *Service) existingBackup(ctx context.Context, q database.Querier, user matrix.UserID, version string) (int64, error) {
	found, err := s.findBackup(ctx, q, user, version)
	if err != nil {
		return 0, err
	}
	if found == nil || found.Deleted {
		return 0, noBackup()
	}
	return found.Version, nil
}

// backupStatus reads the etag before the count: a change in between makes the
// etag look old, never new.
func (s *Service) backupStatus(ctx context.Context, user matrix.UserID, version int64) (*BackupStatus, error) {
	read := s.store.DB.Read()
	found, err := s.keys.Backups.Find(ctx, read, user, version)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, noBackup()
	}
	count, err := s.keys.Backups.Count(ctx, read, user, version)
	return &BackupStatus{Count: count, ETag: strconv.FormatInt(found.Changes, 10)}, err
}

// UpdateBackup replaces the auth_data of a version. Its algorithm must stay.
func (s *Service) UpdateBackup(ctx context.Context, user matrix.UserID, version, algorithm string, authData json.RawMessage) error {
	if err := checkAuthData(algorithm, authData); err != nil {
		return err
	}
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		found, err := s.findBackup(ctx, tx, user, version)
		if err != nil {
			return err
		}
		if found == nil || found.Deleted {
			return noBackup()
		}
		if found.Algorithm != algorithm {
			return matrix.InvalidParam("The algorithm of the backup is %s.", found.Algorithm)
		}
		return s.keys.Backups.Update(ctx, tx, user, found.Version, authData)
	})
}

// DeleteBackup removes a version with its keys. One that was deleted before
// does not matter; M_NOT_FOUND if there never was one.
func (s *Service) DeleteBackup(ctx context.Context, user matrix.UserID, version string) error {
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		found, err := s.findBackup(ctx, tx, user, version)
		if err != nil {
			return err
		}
		if found == nil {
			return noBackup()
		}
		if found.Deleted {
			return nil
		}
		return s.keys.Backups.Delete(ctx, tx, user, found.Version)
	})
}

// BackUp stores sessions in the current version of a user's backup. Of two
// keys of one session the better one stays. M_WRONG_ROOM_KEYS_VERSION if the
// version is not the current one.
func (s *Service) BackUp(ctx context.Context, user matrix.UserID, version string, sessions []storage.BackedUpSession) (*BackupStatus, error) {
	for _, k := range sessions {
		if k.Session == "" || !isName(k.Session) {
			return nil, matrix.InvalidParam("%.80q is no ID of a session.", k.Session)
		}
		if len(k.Data) > maxSessionData {
			return nil, matrix.TooLarge("The session_data of %s has more than %d bytes.", k.Session, maxSessionData)
		}
	}
	found, err := s.existingBackup(ctx, s.store.DB.Read(), user, version)
	if err != nil {
		return nil, err
	}
	count, err := s.keys.Backups.Count(ctx, s.store.DB.Read(), user, found)
	if err != nil {
		return nil, err
	}
	if count+int64(len(sessions)) > maxBackedUpSessions {
		return nil, matrix.TooLarge("A backup holds at most %d sessions.", maxBackedUpSessions)
	}
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		current, err := s.keys.Backups.Current(ctx, tx, user)
		if err != nil {
			return err
		}
		if current == nil {
			return noBackup()
		}
		if current.Version != found {
			return wrongVersion(current.Version)
		}
		if len(sessions) == 0 {
			return nil
		}
		if err := s.keys.Backups.Put(ctx, tx, user, found, sessions); err != nil {
			return err
		}
		return s.keys.Backups.Touch(ctx, tx, user, found)
	})
	if err != nil {
		return nil, err
	}
	return s.backupStatus(ctx, user, found)
}

func wrongVersion(current int64) error {
	return matrix.NewError(http.StatusForbidden, "M_WRONG_ROOM_KEYS_VERSION", "That is not the current version of the backup.").
		With("current_version", strconv.FormatInt(current, 10))
}

// BackedUp is the sessions of a version: all, those of a room, or one.
func (s *Service) BackedUp(ctx context.Context, user matrix.UserID, version string, room matrix.RoomID, session string) ([]storage.BackedUpSession, error) {
	found, err := s.existingBackup(ctx, s.store.DB.Read(), user, version)
	if err != nil {
		return nil, err
	}
	return s.keys.Backups.Sessions(ctx, user, found, room, session, maxBackedUpSessions)
}

// RemoveBackedUp deletes sessions of a version: all, those of a room, or one.
func (s *Service) RemoveBackedUp(ctx context.Context, user matrix.UserID, version string, room matrix.RoomID, session string) (*BackupStatus, error) {
	var found int64
	err := s.store.DB.Update(ctx, func(tx *database.Tx) (err error) {
		if found, err = s.existingBackup(ctx, tx, user, version); err != nil {
			return err
		}
		removed, err := s.keys.Backups.Remove(ctx, tx, user, found, room, session)
		if err != nil || removed == 0 {
			return err
		}
		return s.keys.Backups.Touch(ctx, tx, user, found)
	})
	if err != nil {
		return nil, err
	}
	return s.backupStatus(ctx, user, found)
}
