package storage

import (
	"strings"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// Statements that run at every /sync, or for every message, go by an index.
func TestPlans(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		users, rooms := []string{"@a:x", "@b:x"}, []int64{1, 2}
		for name, q := range map[string]struct {
			stmt *database.Statement
			args []any
		}{
			"device list changes":  {selectDeviceListChanges, []any{"@a:x", int64(2), int64(3)}},
			"own moves":            {selectOwnMoves, []any{int64(1), int64(2)}},
			"moves of mates":       {selectMovesOfMates, []any{int64(1), int64(2), "%:x"}},
			"joined or gone":       {selectJoinedOrGone, []any{rooms, int64(2), "%:x"}},
			"sharing":              {selectSharing, []any{int64(1), users}},
			"data of some types":   {selectGlobalData, []any{"@a:x", users}},
			"joined rooms":         {selectJoinedRoomNIDs, []any{"@a:x"}},
			"device keys":          {selectDeviceKeysOfUsers, []any{users}},
			"cross-signing keys":   {selectCrossSigningKeys, []any{users}},
			"key signatures":       {selectKeySignatures, []any{users, "@a:x"}},
			"one-time key counts":  {countOneTimeKeys, []any{"@a:x", "D"}},
			"taking a key":         {takeOneTimeKey, []any{"@a:x", "D", "signed_curve25519"}},
			"fallback keys":        {selectUnusedFallbackKeys, []any{"@a:x", "D"}},
			"messages to a device": {selectToDevice, []any{"@a:x", "D", int64(1), int64(2), int64(3)}},
			"the oldest message":   {selectOldestToDevice, []any{"@a:x", "D"}},
			"acknowledging":        {deleteToDevice, []any{"@a:x", "D", int64(1)}},
			"old transactions":     {deleteToDeviceTransactions, []any{int64(1)}},
			"receipts of a room":   {selectReceipts, []any{int64(1), int64(2), int64(3), "@a:x", int64(10)}},
			"the receipt stream":   {selectReceiptStream, []any{int64(1), int64(2), int64(3)}},
			"standings of rooms":   {selectStandings, []any{rooms}},
			"rooms":                {selectRooms, []any{rooms}},
			"keys of rooms":        {selectKeysOfRooms, []any{rooms}},
			"state nodes":          {selectStateNodes, []any{rooms}},
			"newest of rooms":      {selectNewestOfRooms, []any{rooms, int64(9), int64(3), int64(-9)}},
			"receipts of rooms":    {selectReceiptsOfRooms, []any{rooms, int64(9), "@a:x", int64(10)}},
			"data of rooms":        {selectDataOfRooms, []any{"@a:x", users, int64(9)}},
			"events since a time":  {selectEventsSince, []any{int64(1), int64(2), int64(3), int64(9), int64(20)}},
			"events until a time":  {selectEventsUntil, []any{int64(1), int64(2), int64(3), int64(9), int64(20)}},
			"events of IDs":        {selectEventsByIDs, []any{users}},
			"the oldest event":     {selectOldestOrdering, []any{int64(1)}},
			"the first message":    {selectFirstMessage, []any{int64(1)}},
			"events of the stream": {countStream, []any{int64(1), int64(2)}},
			"events at positions":  {selectEventsByPosition, []any{rooms}},
			"tallies":              {selectTallies, []any{users, int64(1), int64(2), rooms}},
			"newest children":      {selectNewestChildren, []any{users, int64(1), "m.thread", rooms, int64(9)}},
			"newest edits":         {selectNewestEdits, []any{users, int64(1), int64(9)}},
			"children backwards":   {selectChildrenBackward, []any{users, int64(1), int64(9), int64(0), "", int64(0), rooms, int64(9)}},
			"children forwards":    {selectChildrenForward, []any{users, int64(1), int64(0), int64(9), "", int64(0), rooms, int64(9)}},
			"parents":              {selectChildParents, []any{users, int64(1), "", int64(0), rooms, int64(9)}},
			"threads":              {selectThreads, []any{int64(1), rooms, int64(9), int64(0), int64(9)}},
			"related by":           {selectRelatedBy, []any{users, int64(1), true, users, true, rooms}},
			"annotation":           {selectAnnotation, []any{"$a", int64(1), int64(1), int64(1), "+"}},
			"reports of a user":    {countReportsOf, []any{"@a:x", int64(9)}},
			"reports":              {selectNewestReports, []any{"event", "", "", "", int64(9), int64(0)}},
			"unread of a user":     {selectUnreadOfUser, []any{int64(1)}},
			"unread of a room":     {selectUnreadOfRoom, []any{int64(1), int64(2)}},
			"notifications before": {selectNotificationsBefore, []any{int64(1), int64(2), int64(3)}},
			"notifications after":  {selectNotificationsAfter, []any{int64(1), int64(2), int64(3)}},
			"highlights":           {selectHighlightsBefore, []any{int64(1), int64(2), int64(3)}},
			"of an event":          {selectNotifiedUnread, []any{int64(1)}},
			"marking a room":       {markRoomRead, []any{int64(1), int64(2), int64(3)}},
			"marking a thread":     {markThreadRead, []any{int64(1), int64(2), int64(3), int64(4)}},
			"counting anew":        {countUnread, []any{int64(1), int64(2)}},
			"a pusher":             {selectPusher, []any{int64(1)}},
			"pushers of a user":    {selectUsersPushers, []any{"@a:x"}},
			"owners of a key":      {selectOtherOwners, []any{"app", "key", "@a:x"}},
			"pictures of pages":    {sumOwnlessMedia, []any{"x"}},
			"the oldest picture":   {selectOldestOwnless, []any{"x", int64(9)}},
			"a picture once more":  {selectOwnlessOfHash, []any{"x", []byte("hash"), "image/png"}},
			"keys of a server":     {selectServerKeys, []any{"x", int64(9)}},
			"answer of a server":   {selectServerKeyAnswer, []any{"x"}},
			"keys of strangers":    {selectStaleServerKeys, []any{int64(1), int64(9)}},
			"too many keys":        {deleteOldestServerKeys, []any{"x", int64(9)}},
			"what waits for one":   {selectOutboxEntries, []any{"x", int64(1), int64(9), int64(50)}},
			"what it has taken":    {deleteOutboxEvents, []any{"x", int64(9)}},
			"progress of a pusher": {updatePusherProgress, []any{int64(1), int64(2), int64(3)}},
			"sessions of a backup": {selectBackedUpSessions, []any{"@a:x", int64(1), "", "", int64(10)}},
		} {
			plan, err := database.Explain(t.Context(), db, q.stmt, q.args...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			lines := strings.Split(plan, "\n")
			for i, line := range lines {
				scan, whole := strings.CutPrefix(strings.TrimSpace(line), "SCAN ")
				// What a part of the statement has found may be read as a whole.
				whole = whole && !strings.Contains(scan, "VIRTUAL TABLE") && !strings.Contains(plan, "CO-ROUTINE "+scan+"\n")
				// An index without a condition is read as a whole as well.
				whole = whole || strings.Contains(line, "Index") && strings.Contains(line, "Scan ") && !strings.Contains(line, "Bitmap Heap") &&
					(i+1 == len(lines) || !strings.Contains(lines[i+1], "Index Cond:"))
				if whole || strings.Contains(line, "Seq Scan") {
					t.Errorf("%s reads a whole table:\n%s", name, plan)
					break
				}
			}
		}
	})
}
