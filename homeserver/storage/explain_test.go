package storage

import (
	"strings"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// Words are found by the index of words, in whatever order they are wanted.
func TestWordsAreFoundByTheirIndex(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		plan, err := database.Explain(t.Context(), db, selectSearchWords, "'a'", 9, 20)
		if err != nil {
			t.Fatal(err)
		}
		index := "Index Scan on search_words_words"
		if db.Engine() == database.SQLite {
			index = "VIRTUAL TABLE INDEX"
		}
		if !strings.Contains(plan, index) || strings.Contains(plan, "TEMP B-TREE") {
			t.Error(plan)
		}
	})
}

// Statements that every request runs find what they need by an index, and have
// it in the order in which they want it.
func TestHotStatementsUseIndexes(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, c := range []struct {
			name  string
			stmt  *database.Statement
			args  []any
			index string // or the table, for its primary key
			sorts bool   // a few rows, or those of an empty table as PostgreSQL guesses them
		}{
			{"events by number", selectEventsByNID, []any{[]int64{1, 2}}, "events", true},
			{"event by ID", selectEventByID, []any{"$a"}, "events", false},
			{"event by transaction", selectEventByTxn, []any{1, 1, "k"}, "events_txn", false},
			{"page backwards", selectRoomBackward, []any{1, 9, 0, 20}, "events_room", false},
			{"page forwards", selectRoomForward, []any{1, 0, 9, 20}, "events_room", false},
			{"stream", selectStream, []any{0, 9, 20}, "events_position", true},
			{"moves of the stream", selectMovesStream, []any{0, 9, 20}, "events_position", true},
			{"newest event", selectEventsMaxPosition, nil, "events_position", false},
			{"events since", selectEventsSince, []any{1, 2, 3, 9, 20}, "events_time", false},
			{"events until", selectEventsUntil, []any{1, 2, 3, 9, 20}, "events_time", false},
			{"redaction", redactEvent, []any{1, 1, []byte("{}")}, "events", false},
			{"membership", selectMembership, []any{1, 1}, "memberships", false},
			{"memberships of a user", selectMembershipsOfUser, []any{1}, "memberships", true},
			{"members of a room", selectRoomMembers, []any{1}, "memberships_room", true},
			{"the last move in a room", selectLastMove, []any{1}, "memberships_changes", false},
			{"heroes", selectHeroes, []any{1, []string{"join"}, "@a:b", 5}, "memberships_room", true},
			{"mates", selectRoomMates, []any{1}, "memberships_room", true},
			{"room by ID", selectRoomByID, []any{"!a"}, "rooms", false},
			{"room by number", selectRoomByNID, []any{1}, "rooms", false},
			{"head", selectRoomHead, []any{1}, "rooms", false},
			{"state node", selectStateNode, []any{1}, "state_nodes", false},
			{"state keys", selectStateKeys, []any{1}, "state_keys", true},
			{"user by name", selectUserNIDs, []any{[]string{"@a:b"}}, "user_ids", true},
			{"user by number", selectUserIDs, []any{[]int64{1}}, "user_ids", true},
			{"alias", selectAlias, []any{"#a:b"}, "room_aliases", false},
			{"aliases of a room", selectRoomAliases, []any{1}, "room_aliases_room", true},
		} {
			plan, err := database.Explain(t.Context(), db, c.stmt, c.args...)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			lower := strings.ToLower(plan)
			found := strings.Contains(lower, c.index)
			scans := strings.Contains(lower, "seq scan")
			for step := range strings.Lines(plan) {
				// SQLite scans the few values of json_each, and the newest row of an index.
				scans = scans || strings.HasPrefix(strings.TrimSpace(step), "SCAN ") && !strings.Contains(step, "json_each") && !strings.Contains(step, "VIRTUAL TABLE")
			}
			sorts := strings.Contains(lower, "sort") || strings.Contains(lower, "temp b-tree")
			if !found || scans || sorts && !c.sorts {
				t.Errorf("%s:\n%s", c.name, plan)
			}
		}
	})
}
