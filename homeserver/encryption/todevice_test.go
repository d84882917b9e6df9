package encryption_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/encryption"
	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// quiet is a notifier for whom nobody waits.
type quiet struct{}

func (quiet) UserChanged(matrix.UserID, notifier.Kind, int64)           {}
func (quiet) MatesChanged(matrix.UserID, []int64, notifier.Kind, int64) {}

// service makes a service for a database with the device D of @a:hs.
func service(t *testing.T, url string, now func() time.Time) (*encryption.Service, *database.DB) {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	err = db.Update(t.Context(), func(tx *database.Tx) error {
		_, err := storage.NewAccounts(db).Devices.Insert(t.Context(), tx, "@a:hs", "D", "", 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return encryption.New(encryption.Options{
		ServerName: "hs", Store: storage.New(db), Keys: storage.NewEncryption(db), Notifier: quiet{}, Now: now,
	}), db
}

func waiting(t *testing.T, s *encryption.Service) int {
	t.Helper()
	list, _, err := s.ToDevice(t.Context(), "@a:hs", "D", 0, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A transaction is known for a day.
func TestTidyForgetsTransactions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		now := time.UnixMilli(1_700_000_000_000)
		s, _ := service(t, url, func() time.Time { return now })
		for _, step := range []struct {
			later time.Duration
			want  int
		}{{0, 1}, {23 * time.Hour, 1}, {time.Hour + time.Millisecond, 2}} {
			now = now.Add(step.later)
			if err := s.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := s.Send(t.Context(), encryption.Sending{
				Sender: "@b:hs", Device: "B", Type: "test", TxnID: "1",
				Messages: map[matrix.UserID]map[matrix.DeviceID]json.RawMessage{"@a:hs": {"D": json.RawMessage(`{}`)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := waiting(t, s); got != step.want {
				t.Errorf("%v later: %d messages, want %d", step.later, got, step.want)
			}
		}
	})
}

// A queue that nobody empties keeps its newest messages.
func TestTidyShortensQueues(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, db := service(t, url, nil)
		const kept, surplus = 20_000, 5
		messages := make([]storage.ToDeviceMessage, kept+surplus)
		for i := range messages {
			messages[i] = storage.ToDeviceMessage{User: "@a:hs", Device: "D", Sender: "@b:hs", Type: "test", Content: json.RawMessage(`{}`), Position: int64(i + 1)}
		}
		err := db.Update(t.Context(), func(tx *database.Tx) error {
			return storage.NewEncryption(db).ToDevice.Insert(t.Context(), tx, messages)
		})
		if err != nil {
			t.Fatal(err)
		}
		count := func(upTo int64) int {
			list, _, err := s.ToDevice(t.Context(), "@a:hs", "D", 0, upTo)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if got := count(surplus + 1); got != surplus+1 {
			t.Fatalf("%d messages before", got)
		}
		if err := s.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := count(surplus + 1); got != 1 {
			t.Errorf("%d of the oldest messages after", got)
		}
	})
}

// What one request sends to many devices has positions enough that no reader of the
// stream has to take much at once, and each device gets one message.
func TestMessagesToManyDevices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, db := service(t, url, nil)
		const devices = 600
		err := db.Update(t.Context(), func(tx *database.Tx) error {
			for i := range devices {
				if _, err := storage.NewAccounts(db).Devices.Insert(t.Context(), tx, "@many:hs", matrix.DeviceID(fmt.Sprint("M", i)), "", 1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		send := func(txn string, messages map[matrix.UserID]map[matrix.DeviceID]json.RawMessage) error {
			return s.Send(t.Context(), encryption.Sending{Sender: "@b:hs", Device: "B", Type: "test", TxnID: txn, Messages: messages})
		}
		body := func(size int) json.RawMessage { return json.RawMessage(`{"x":"` + strings.Repeat("x", size) + `"}`) }
		all := map[matrix.DeviceID]json.RawMessage{"*": body(5000), "M1": body(1), "none": body(1)}
		if err := send("1", map[matrix.UserID]map[matrix.DeviceID]json.RawMessage{"@many:hs": all, "@a:hs": {"*": body(1)}, "@none:hs": {"*": body(1)}}); err != nil {
			t.Fatal(err)
		}
		list, err := storage.NewEncryption(db).ToDevice.To(t.Context(), []matrix.UserID{"@many:hs", "@a:hs"}, 0, 1<<60)
		if err != nil {
			t.Fatal(err)
		}
		count, bytes, got := map[int64]int{}, map[int64]int{}, []string{}
		for _, m := range list {
			count[m.Position]++
			bytes[m.Position] += len(m.Content)
			if count[m.Position] > 50 || bytes[m.Position] > 64<<10 {
				t.Fatalf("%d messages of %d bytes have one position", count[m.Position], bytes[m.Position])
			}
			if (len(m.Content) < 100) != (m.Device == "M1" || m.User == "@a:hs") {
				t.Errorf("%s of %s gets %d bytes", m.Device, m.User, len(m.Content))
			}
			got = append(got, string(m.User)+string(m.Device))
		}
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != devices+1 || n != len(list) {
			t.Errorf("%d of %d devices get %d messages", n, devices+1, len(list))
		}
		if err := send("2", map[matrix.UserID]map[matrix.DeviceID]json.RawMessage{"@many:hs": {"*": body(60_000)}}); matrix.Code(err) != "M_TOO_LARGE" {
			t.Errorf("too much: %v", err)
		}
		if err := send("2", map[matrix.UserID]map[matrix.DeviceID]json.RawMessage{"@a:hs": {"*": body(60_000)}}); err != nil || waiting(t, s) != 2 {
			t.Errorf("what was refused is done: %v", err)
		}
	})
}
