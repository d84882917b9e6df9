package outbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A server that is killed again and again has others be sent everything, in order, and each thing once.
func TestAServerThatIsKilled(t *testing.T) {
	w := &world{t: t, authority: testkit.NewAuthority(t), key: newKey(t), theirs: newKey(t)}
	p := w.peer()
	certificate, key := w.authority.Files("127.0.0.1")
	name, url := testkit.FreeAddress(t), filepath.Join(t.TempDir(), "server.db")
	p.from = matrix.ServerName(name)
	server := testkit.StartTrestle(t, testkit.TrestleOptions{
		ServerName: name, Database: url,
		Args: []string{
			"--federation-listen", name, "--tls-cert", certificate, "--tls-key", key, "--ca-file", w.authority.File(), "--open-registration",
		},
		Env: []string{"TRESTLE_FEDERATION_ALLOW_ADDRESSES=127.0.0.0/8"},
	})
	var token string
	ask := func(method, path string, body, into any) error {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, server.BaseURL+"/_matrix/client/v3"+path, bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, response.Status)
		}
		return json.NewDecoder(response.Body).Decode(into)
	}
	var made struct {
		Token string        `json:"access_token"`
		Room  matrix.RoomID `json:"room_id"`
	}
	if err := ask("POST", "/register", map[string]any{"username": "alice", "password": "correct horse", "auth": map[string]string{"type": "m.login.dummy"}}, &made); err != nil {
		t.Fatal(err)
	}
	token = made.Token
	if err := ask("POST", "/createRoom", map[string]any{"room_version": "11"}, &made); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.store = storage.New(db)
	w.stream = notifier.New(w.store.Members, 0)
	w.plant(made.Room, p.user("anne"), "join", nil)
	db.Close()
	server.Start()

	const messages = 120
	for i := range messages {
		arrived := make(chan struct{}, 1)
		switch i % 15 {
		case 3:
			p.set(answers(500, `{"errcode":"M_UNKNOWN","error":"Not now"}`))
		case 6:
			p.set(nil)
		case 11: // it takes what it is sent, and nobody hears of that
			p.set(func(_ http.ResponseWriter, r *http.Request) {
				arrived <- struct{}{}
				hangs(nil, r)
			})
		}
		path := "/rooms/" + string(made.Room) + "/send/m.room.message/" + strconv.Itoa(i)
		var sent struct {
			ID matrix.EventID `json:"event_id"`
		}
		if err := ask("PUT", path, map[string]string{"msgtype": "m.text", "body": strconv.Itoa(i)}, &sent); err != nil {
			t.Fatal(err)
		}
		switch i % 15 {
		case 11:
			<-arrived
			server.Kill()
			p.set(nil)
			server.Start()
		case 4, 8, 9: // while it does what it does
			server.Kill()
			server.Start()
		}
	}
	p.set(nil)
	bodies := map[string]string{}
	var got []string
	for len(got) < messages {
		txn := p.next()
		if body, again := bodies[txn.id]; again {
			if body != txn.body {
				t.Errorf("%s is %s, and then %s", txn.id, body, txn.body)
			}
			continue
		}
		bodies[txn.id] = txn.body
		got = append(got, txn.said...)
	}
	if !slices.Equal(got, numbers(0, messages)) {
		t.Errorf("the other server got %q", got)
	}
}
