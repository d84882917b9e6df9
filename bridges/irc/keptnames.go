package irc

import (
	"context"
	"fmt"

	"trestle/bridges/irc/names"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectKept = database.SQL(`
		SELECT network, user_id, nick
		FROM irc_ghosts
		ORDER BY network, user_id
		LIMIT 10000000`)
	insertKept = database.SQL(`
		INSERT INTO irc_ghosts (network, user_id, nick)
		VALUES ($1, $2, $3)
		ON CONFLICT (network, user_id) DO NOTHING`)
)

// keptNames are the localparts of virtual users that another bridge has made of nicks as they were
// written, and that go on being theirs: people know them, and rooms are full of them.
type keptNames struct{ localparts map[string]string } // by nick, folded in each way that a network may

func loadKept(ctx context.Context, db *database.DB) (map[string]*keptNames, error) {
	rows, err := db.Read().Query(ctx, selectKept)
	if err != nil {
		return nil, fmt.Errorf("read the names that another bridge has left: %w", err)
	}
	defer rows.Close()
	all := map[string]*keptNames{}
	for rows.Next() {
		var network, nick string
		var user matrix.UserID
		if err := rows.Scan(&network, &user, &nick); err != nil {
			return nil, err
		}
		if all[network] == nil {
			all[network] = &keptNames{map[string]string{}}
		}
		if user != "" { // else it says only that there was another bridge
			all[network].add(nick, user.Localpart())
		}
	}
	return all, rows.Err()
}

func (k *keptNames) add(nick, localpart string) {
	for _, mapping := range []names.CaseMapping{names.RFC1459, names.StrictRFC1459, names.ASCII} {
		k.localparts[mapping.Fold(nick)] = localpart
	}
}

// localpart is the virtual user of a nick, given folded.
func (k *keptNames) localpart(nick string) (string, bool) {
	localpart, ok := k.localparts[nick]
	return localpart, ok
}
