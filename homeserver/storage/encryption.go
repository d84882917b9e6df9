package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Encryption holds what clients keep here to encrypt for each other, by subject.
type Encryption struct {
	DeviceKeys   *DeviceKeys
	OneTimeKeys  *OneTimeKeys
	CrossSigning *CrossSigning
	DeviceLists  *DeviceLists
	ToDevice     *ToDevice
	KeyChanges   *KeyChanges
	Backups      *KeyBackups
	Dehydrated   *Dehydrated
}

// NewEncryption prepares the subjects of a database that is migrated.
func NewEncryption(db *database.DB) *Encryption {
	return &Encryption{
		DeviceKeys:   &DeviceKeys{db},
		OneTimeKeys:  &OneTimeKeys{db},
		CrossSigning: &CrossSigning{db},
		DeviceLists:  &DeviceLists{db},
		ToDevice:     &ToDevice{db},
		KeyChanges:   &KeyChanges{db},
		Backups:      &KeyBackups{db},
		Dehydrated:   &Dehydrated{db},
	}
}

// queryUsers runs a statement whose rows are user IDs.
func queryUsers(ctx context.Context, q database.Querier, stmt *database.Statement, args ...any) ([]matrix.UserID, error) {
	rows, err := q.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []matrix.UserID
	for rows.Next() {
		var id matrix.UserID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, rows.Err()
}
