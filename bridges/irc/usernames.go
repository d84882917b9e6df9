package irc

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	identLength = 10  // that servers take
	identLeast  = 4   // with less, there are not enough names
	identHash   = 5   // of them where the name alone would not do
	identTries  = 256 // names that are tried for one user
)

var (
	selectUserNames = database.SQL(`
		SELECT network, name, user_id
		FROM irc_user_names
		ORDER BY network, name
		LIMIT 10000000`)
	insertUserName = database.SQL(`
		INSERT INTO irc_user_names (network, name, user_id)
		VALUES ($1, $2, $3)`)
)

var errNoUserName = errors.New("no user name is free")

// ident is a user name that tells the Matrix user apart: the localpart of one of ours
// if it fits, or else its beginning, "_", and a hash of the whole user ID, which is another one for each attempt.
func ident(user matrix.UserID, home matrix.ServerName, length, attempt int) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, user.Localpart())
	if user.Server() == home && clean == user.Localpart() && len(clean) <= length && clean != "" {
		return clean
	}
	text := string(user)
	if attempt > 0 {
		text += "\x00" + strconv.Itoa(attempt)
	}
	sum := sha256.Sum256([]byte(text))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
	if clean == "" {
		clean = "m"
	}
	first := clean[:min(len(clean), max(1, length-identHash-1))] // which has to be a letter or a digit
	return first + "_" + hash[:min(identHash, length-len(first)-1)]
}

// identRoom is how long user names may be where the server cuts them (USERLEN, in bytes; 0: it has not said). Some
// count the "~" before those that no ident server has confirmed.
func identRoom(userLen int, identified bool) int {
	if userLen == 0 {
		return identLength
	}
	if !identified {
		userLen--
	}
	return min(max(userLen, identLeast), identLength)
}

// cutTo is how long a user name is that a server shows cut, without the "~" of what nobody has confirmed; the name's own length
// if it is whole, or not the one that was given.
func cutTo(given, shown string) int {
	if shown = strings.TrimPrefix(shown, "~"); shown != "" && strings.HasPrefix(given, shown) {
		return len(shown)
	}
	return len(given)
}

// A userName is one on a network.
type userName struct{ network, name string }

// userNames gives each Matrix user a name on a network, for ever: what its staff knows about a name is true of one
// person only. It is safe for concurrent use.
type userNames struct {
	db *database.DB

	mu     sync.Mutex
	owners map[userName]matrix.UserID // of those that are made of a hash
}

func loadUserNames(ctx context.Context, db *database.DB) (*userNames, error) {
	u := &userNames{db: db, owners: map[userName]matrix.UserID{}}
	rows, err := db.Read().Query(ctx, selectUserNames)
	if err != nil {
		return nil, fmt.Errorf("read the names of users: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var one userName
		var user matrix.UserID
		if err := rows.Scan(&one.network, &one.name, &user); err != nil {
			return nil, fmt.Errorf("read the names of users: %w", err)
		}
		u.owners[one] = user
	}
	return u, rows.Err()
}

// of is a user's name, of a length in bytes. It follows from the user ID, as long as nobody else has it, and is stored before
// it is used.
func (u *userNames) of(ctx context.Context, network string, user matrix.UserID, home matrix.ServerName, length int) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range identTries {
		one := userName{network, ident(user, home, length, i)}
		owner, taken := u.owners[one]
		if owner == user || !strings.Contains(one.name, "_") { // a localpart is nobody else's
			return one.name, nil
		}
		if taken {
			continue
		}
		err := u.db.Update(ctx, func(tx *database.Tx) error {
			return tx.Queue(ctx, insertUserName, one.network, one.name, user)
		})
		if err != nil {
			return "", fmt.Errorf("store the name of a user: %w", err)
		}
		u.owners[one] = user
		return one.name, nil
	}
	return "", errNoUserName
}

// known is the name that a user has on a network, empty if they have none yet.
func (u *userNames) known(network string, user matrix.UserID, home matrix.ServerName, length int) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range identTries {
		one := userName{network, ident(user, home, length, i)}
		if owner, taken := u.owners[one]; owner == user || !strings.Contains(one.name, "_") {
			return one.name
		} else if !taken {
			return ""
		}
	}
	return ""
}

// noteRoom notes how long user names may be on a server. The shortest counts for all of the network.
func (n *network) noteRoom(room int) {
	if room := int64(room); room < n.identRoom.Load() {
		n.identRoom.Store(room)
	}
}

// room is how long user names may be on the link's server, by what it says and by what it has made of this one.
func (l *link) room() int {
	room := identRoom(l.conn.Support().UserLen, l.net.service.idents != nil)
	if shown := cutTo(l.user, l.conn.Self().User); shown < len(l.user) {
		room = min(room, max(shown, identLeast))
	}
	return room
}

// cut tells whether the server has cut the name with which a connection was made; the next one has a shorter one.
func (l *link) cut() bool {
	room := l.room()
	l.net.noteRoom(room)
	return len(l.user) > room
}
