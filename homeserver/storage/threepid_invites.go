package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// ThreePIDInvites holds invites by address that have not been accepted.
type ThreePIDInvites struct{ db *database.DB }

// NewThreePIDInvites is the invites of a database.
func NewThreePIDInvites(db *database.DB) *ThreePIDInvites { return &ThreePIDInvites{db} }

// A ThreePIDInvite is an invite by address. Its token is the state key of
// m.room.third_party_invite.
type ThreePIDInvite struct {
	RoomID  matrix.RoomID
	RoomNID int64
	Token   string
	Sender  matrix.UserID
	Binding
}

var (
	insertThreePIDInvite = database.SQL(`
		INSERT INTO threepid_invites (room_nid, token, sender, id_server, medium, address)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`)
	selectThreePIDInvites = database.SQL(`
		SELECT r.room_id, i.room_nid, i.token, i.sender, i.id_server, i.medium, i.address
		FROM threepid_invites i
		JOIN rooms r ON r.room_nid = i.room_nid
		WHERE i.address = $1 AND i.medium = $2 AND i.id_server = $3
		ORDER BY i.room_nid, i.token
		LIMIT 1000`)
	deleteThreePIDInvite = database.SQL(`
		DELETE FROM threepid_invites
		WHERE room_nid = $1 AND token = $2`)
)

// Insert keeps an invite.
func (s *ThreePIDInvites) Insert(ctx context.Context, tx *database.Tx, i ThreePIDInvite) error {
	_, err := tx.Exec(ctx, insertThreePIDInvite, i.RoomNID, i.Token, string(i.Sender), i.IDServer, i.Medium, i.Address)
	return err
}

// To is the invites to an address that an identity server was asked about, at
// most 1,000.
func (s *ThreePIDInvites) To(ctx context.Context, b Binding) ([]ThreePIDInvite, error) {
	rows, err := s.db.Read().Query(ctx, selectThreePIDInvites, b.Address, b.Medium, b.IDServer)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []ThreePIDInvite
	for rows.Next() {
		var i ThreePIDInvite
		var room, sender string
		if err := rows.Scan(&room, &i.RoomNID, &i.Token, &sender, &i.IDServer, &i.Medium, &i.Address); err != nil {
			return nil, err
		}
		i.RoomID, i.Sender = matrix.RoomID(room), matrix.UserID(sender)
		list = append(list, i)
	}
	return list, rows.Err()
}

// Delete forgets an invite.
func (s *ThreePIDInvites) Delete(ctx context.Context, tx *database.Tx, roomNID int64, token string) error {
	_, err := tx.Exec(ctx, deleteThreePIDInvite, roomNID, token)
	return err
}
