package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Binding is an address of which an identity server was told whose it is.
type Binding struct {
	Medium   string
	Address  string
	IDServer string
}

var (
	insertBinding = database.SQL(`
		INSERT INTO threepid_bindings (user_id, medium, address, id_server)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`)
	selectBindings = database.SQL(`
		SELECT medium, address, id_server
		FROM threepid_bindings
		WHERE user_id = $1
		ORDER BY medium, address, id_server
		LIMIT 1000`)
	deleteBinding = database.SQL(`
		DELETE FROM threepid_bindings
		WHERE user_id = $1 AND medium = $2 AND address = $3 AND id_server = $4`)
)

// Bind notes that an identity server was told.
func (s *ThreePIDs) Bind(ctx context.Context, tx *database.Tx, user matrix.UserID, b Binding) error {
	_, err := tx.Exec(ctx, insertBinding, user, b.Medium, b.Address, b.IDServer)
	return err
}

// Bindings is what identity servers were told about a user.
func (s *ThreePIDs) Bindings(ctx context.Context, q database.Querier, user matrix.UserID) ([]Binding, error) {
	rows, err := q.Query(ctx, selectBindings, user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Binding
	for rows.Next() {
		var b Binding
		if err := rows.Scan(&b.Medium, &b.Address, &b.IDServer); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, rows.Err()
}

// Unbind notes that an identity server has forgotten it.
func (s *ThreePIDs) Unbind(ctx context.Context, tx *database.Tx, user matrix.UserID, b Binding) error {
	_, err := tx.Exec(ctx, deleteBinding, user, b.Medium, b.Address, b.IDServer)
	return err
}
