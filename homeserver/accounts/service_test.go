package accounts_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func open(t testing.TB, url string) *accounts.Service {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return accounts.New(accounts.Options{
		ServerName: "hs", DB: db, Store: storage.NewAccounts(db), Passwords: accounts.PasswordOptions{Memory: 64, Iterations: 1},
	})
}

func register(t testing.TB, s *accounts.Service, name string) *accounts.Login {
	t.Helper()
	login, err := s.Register(t.Context(), accounts.Registration{Username: name, Login: &accounts.NewDevice{}})
	if err != nil {
		t.Fatal(err)
	}
	return login
}

// Once a logout has been answered its token is never good again, however many
// requests were putting it into memory meanwhile.
func TestNoTokenSurvivesLogout(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "test.db"))
	for i := range 50 {
		login := register(t, s, fmt.Sprintf("user%d", i))
		credentials := accounts.Credentials{Token: login.AccessToken}
		var gone atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					after := gone.Load()
					_, err := s.Authenticate(t.Context(), credentials)
					if after && err == nil {
						t.Error("a token works after its logout")
					}
					if after {
						return
					}
				}
			})
		}
		if err := s.Logout(t.Context(), accounts.Caller{UserID: login.UserID, DeviceID: login.DeviceID}); err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
		wg.Wait()
	}
}

// Of many who want one name at once, one gets it.
func TestOneUserForEachName(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := open(t, url)
		var made, taken atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				_, err := s.Register(t.Context(), accounts.Registration{Username: "popular", Login: &accounts.NewDevice{}})
				switch {
				case err == nil:
					made.Add(1)
				case matrix.Code(err) == "M_USER_IN_USE":
					taken.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 || taken.Load() != 15 {
			t.Errorf("%d made, %d told that it is taken", made.Load(), taken.Load())
		}
		devices, err := s.Devices(t.Context(), "@popular:hs")
		if err != nil || len(devices) != 1 {
			t.Errorf("devices %v, %v", devices, err)
		}
	})
}

func TestOperators(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "test.db"))
	login := register(t, s, "alice")
	ctx := t.Context()
	admin := func() bool {
		who, err := s.Authenticate(ctx, accounts.Credentials{Token: login.AccessToken})
		if err != nil {
			t.Fatal(err)
		}
		return who.Admin
	}
	if admin() {
		t.Error("a new user is an administrator")
	}
	if err := s.SetAdmin(ctx, login.UserID, true); err != nil || !admin() {
		t.Errorf("made an administrator: %v", err)
	}
	if err := s.SetPassword(ctx, login.UserID, "correct horse", false, ""); err != nil {
		t.Error(err)
	}
	if _, err := s.LoginByPassword(ctx, accounts.PasswordLogin{User: "alice", Password: "correct horse"}); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"admin":      s.SetAdmin(ctx, "@nobody:hs", true),
		"password":   s.SetPassword(ctx, "@nobody:hs", "correct horse", false, ""),
		"deactivate": s.Deactivate(ctx, "@nobody:hs", false),
	} {
		if matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("%s of nobody: %v", name, err)
		}
	}
	if err := s.Deactivate(ctx, login.UserID, false); err != nil {
		t.Error(err)
	}
	if err := s.Deactivate(ctx, login.UserID, false); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if ok, err := s.Exists(ctx, login.UserID); ok || err != nil {
		t.Errorf("a deactivated user exists: %v, %v", ok, err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "test.db"))
	credentials := accounts.Credentials{Token: register(b, s, "alice").AccessToken, RemoteAddr: "192.0.2.1", UserAgent: "Benchmark"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), credentials); err != nil {
			b.Fatal(err)
		}
	}
}
