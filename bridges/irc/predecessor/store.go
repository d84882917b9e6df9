package predecessor

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// newest is the newest version of the store's schema that is known here.
const newest = 10

// WholePasswords is the version of the schema from which on a password with spaces was used as it is; before, up to the first
// space.
const WholePasswords = 10

// A Store is what is in the tables. Domains are those of [Network.Domain].
type Store struct {
	Version int
	Rooms   []Room
	Admins  []Admin
	Directs []Direct
	Ghosts  []matrix.UserID // and other users that it has met
	Clients []Client
	Blocked []matrix.UserID // deactivated_users: the bridge has nothing to do with them

	Mentions map[matrix.UserID]bool // whether users who have said so want to be mentioned by their nicks
	Skipped  []string               // rows that make no sense
}

// A Room is a channel's.
type Room struct {
	Origin  string // config, provision, alias or join
	Room    matrix.RoomID
	Domain  string
	Channel string // folded
}

// An Admin is a user who speaks with the bridge itself in a room.
type Admin struct {
	Room matrix.RoomID
	User matrix.UserID
}

// A Direct is the room in which a user and a virtual user speak.
type Direct struct {
	Room   matrix.RoomID
	Domain string
	Nick   string // folded
	User   matrix.UserID
	Ghost  matrix.UserID
}

// A Client is what a user has said about themselves.
type Client struct {
	User     matrix.UserID
	Domain   string
	Username string
	Nick     string
	IPv6     string
	Sealed   string // the password, by the passkey

	Certificate, SealedKey string // PEM, and the key to it, by the passkey
}

// Read reads a store of PostgreSQL as it is at one moment.
func Read(ctx context.Context, url string) (*Store, error) {
	s := &Store{Mentions: map[matrix.UserID]bool{}}
	err := database.ReadForeign(ctx, url, func(db *database.Foreign) error { return s.read(ctx, db) })
	if err != nil {
		return nil, fmt.Errorf("the store of matrix-appservice-irc: %w", err)
	}
	return s, nil
}

// A table is one of the store's, and how a row of it is read, all of whose columns are text.
type table struct {
	name    string
	columns string
	row     func(s *Store, columns []string) error
}

var tables = []table{
	{"rooms", "origin, room_id, type, irc_domain, irc_channel", (*Store).addRoom},
	{"admin_rooms", "room_id, user_id", (*Store).addAdmin},
	{"pm_rooms", "room_id, irc_domain, irc_nick, matrix_user_id, virtual_user_id", (*Store).addDirect},
	{"matrix_users", "user_id", (*Store).addGhost},
	{"client_config", "user_id, domain, config, password, cert, key", (*Store).addClient},
	{"user_features", "user_id, features", (*Store).addFeatures},
	{"deactivated_users", "user_id", (*Store).addBlocked},
}

func (s *Store) read(ctx context.Context, db *database.Foreign) error {
	there, err := db.Has(ctx, "schema")
	if err == nil && !there {
		err = fmt.Errorf("there is no such store: it has no table “schema”")
	}
	if err != nil {
		return err
	}
	err = db.Each(ctx, "SELECT version FROM schema", func(scan func(...any) error) error { return scan(&s.Version) })
	if err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if s.Version < 1 || s.Version > newest {
		return fmt.Errorf("its schema has version %d; known are 1 to %d", s.Version, newest)
	}
	for _, t := range tables {
		if there, err := db.Has(ctx, t.name); err != nil || !there {
			if err != nil {
				return err
			}
			continue // it has come with a later version
		}
		if err := s.readTable(ctx, db, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

func (s *Store) readTable(ctx context.Context, db *database.Foreign, t table) error {
	there := map[string]bool{} // some have come with later versions
	err := db.Each(ctx, "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('"+t.name+"') AND attnum > 0 AND NOT attisdropped", func(scan func(...any) error) error {
		var column string
		err := scan(&column)
		there[column] = true
		return err
	})
	if err != nil {
		return err
	}
	columns := strings.Split(t.columns, ", ")
	selected := make([]string, len(columns))
	for i, column := range columns {
		if selected[i] = "''"; there[column] {
			selected[i] = "coalesce(" + column + "::text, '')"
		}
	}
	query := "SELECT " + strings.Join(selected, ", ") + " FROM " + t.name + " ORDER BY 1, 2"
	if len(columns) == 1 {
		query = strings.TrimSuffix(query, ", 2")
	}
	return db.Each(ctx, query, func(scan func(...any) error) error {
		row, into := make([]string, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := scan(into...); err != nil {
			return err
		}
		if err := t.row(s, row); err != nil {
			s.Skipped = append(s.Skipped, fmt.Sprintf("%s: %.200q: %s", t.name, cmp.Or(row[0], "?"), err))
		}
		return nil
	})
}
