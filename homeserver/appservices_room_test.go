package homeserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// call makes a request to a server, and returns a member of its answer.
func call(t *testing.T, s *Server, token, method, path string, body any, member string) string {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "/_matrix/client/v3"+path, bytes.NewReader(raw))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	value, _ := answer[member].(string)
	return value
}

// Whoever is asked for, the table of members or the state of the time: in a room were
// those who had joined, and had not left, before its next event.
func TestWhoWasInARoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		cfg := config.Default()
		cfg.ServerName, cfg.Data, cfg.Database = "hs.example", t.TempDir(), config.Secret(url)
		cfg.Media.Path, cfg.SigningKey = filepath.Join(cfg.Data, "media"), filepath.Join(cfg.Data, "signing.key")
		cfg.AppServices = []string{filepath.Join(cfg.Data, "appservices")}
		cfg.OpenRegistration, cfg.NoRateLimits = true, true
		cfg.Passwords.Hash, cfg.Passwords.BcryptCost = "bcrypt", 4
		s, err := Open(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		var tokens []string
		for i := range 5 {
			tokens = append(tokens, call(t, s, "", "POST", "/register", map[string]any{
				"username": fmt.Sprint("user", i), "password": "correct horse", "auth": map[string]string{"type": "m.login.dummy"},
			}, "access_token"))
		}
		room := call(t, s, tokens[0], "POST", "/createRoom", map[string]string{"preset": "public_chat"}, "room_id")
		stream := eventStream{store: s.store, rooms: s.rooms, server: cfg.ServerName}
		joined := map[matrix.UserID]bool{"@user0:hs.example": true}
		type moment struct {
			position int64
			users    []matrix.UserID
		}
		var past []moment
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		check := func(m moment) {
			t.Helper()
			got, err := stream.Room(t.Context(), matrix.RoomID(room), m.position)
			slices.Sort(got.Members)
			if err != nil || !slices.Equal(got.Members, m.users) {
				t.Errorf("seed %d: at %d were %v (%v), not %v", seed, m.position, got.Members, err, m.users)
			}
		}
		for range 40 {
			i := 1 + random.IntN(len(tokens)-1)
			user := matrix.NewUserID(fmt.Sprint("user", i), cfg.ServerName)
			switch {
			case random.IntN(4) == 0:
				call(t, s, tokens[0], "PUT", fmt.Sprintf("/rooms/%s/send/m.room.message/%d", room, len(past)), map[string]string{"msgtype": "m.text", "body": "x"}, "")
			case joined[user]:
				call(t, s, tokens[i], "POST", "/rooms/"+room+"/leave", map[string]any{}, "")
				delete(joined, user)
			default:
				call(t, s, tokens[i], "POST", "/rooms/"+room+"/join", map[string]any{}, "")
				joined[user] = true
			}
			past = append(past, moment{s.notifier.Position(), slices.Sorted(maps.Keys(joined))})
			check(past[len(past)-1])
		}
		for _, m := range past {
			check(m)
		}
	})
}
