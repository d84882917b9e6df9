package rooms_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "modernc.org/sqlite" // registers the driver

	"trestle/homeserver/rooms"
)

// What waits behind an event that the database refuses was decided on a state
// that never came to be: it is decided again, and nobody but the one event's
// sender notices.
func TestWhatIsQueuedBehindARefusedEventGoesThrough(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	f := open(t, path)
	room := f.create(rooms.CreateRequest{Preset: "public_chat"})
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`
		CREATE TRIGGER poison BEFORE INSERT ON events
		WHEN CAST(NEW.json AS TEXT) LIKE '%poison%'
		BEGIN SELECT RAISE(ABORT, 'poison'); END`); err != nil {
		t.Fatal(err)
	}
	const senders, each = 8, 25
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			for n := range each {
				body := fmt.Sprintf("message %d of %d", n, i)
				if i == 0 {
					body = "poison"
				}
				content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
				_, err := f.Send(t.Context(), rooms.SendRequest{
					Room: room, Sender: alice, Type: "m.room.message", Content: content, TxnKey: fmt.Sprint(i, "-", n),
				})
				if (err != nil) != (i == 0) || err != nil && !strings.Contains(err.Error(), "poison") {
					t.Errorf("%s: %v", body, err)
				}
			}
		})
	}
	all.Wait()
	f.heard.mu.Lock()
	defer f.heard.mu.Unlock()
	messages := 0
	for _, c := range f.heard.changes {
		if c.Event.Type == "m.room.message" {
			messages++
		}
	}
	if messages != (senders-1)*each {
		t.Errorf("readers were told of %d messages, want %d", messages, (senders-1)*each)
	}
}
