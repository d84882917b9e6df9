package irc

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// What is stored is read again, sealed anew by a new key, and locked without one.
func TestAccountsAreKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		keys, log := filepath.Join(t.TempDir(), "keys"), slog.New(slog.DiscardHandler)
		load := func() *accounts {
			a, err := loadAccounts(t.Context(), db, keys, log)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		a, who, other := load(), whose{"local", "@alice:home"}, whose{"local", "@bob:home"}
		pem, err := newCertificate(who.user, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		store := func(a *accounts, who whose) error {
			return a.change(t.Context(), who, func(one *account) (err error) {
				if one.password, err = a.seal(who, "password", []byte("secret")); err == nil {
					one.certificate, err = a.seal(who, "certificate", pem)
				}
				one.username, one.nick, one.external = "al", "wonder", true
				return err
			})
		}
		if err := store(a, who); err != nil {
			t.Fatal(err)
		}
		check := func(a *accounts) {
			t.Helper()
			l, err := a.login(who, "nick")
			if err != nil || l.name != "al" || l.password != "secret" || !l.external || l.certificate == nil || a.of(who).nick != "wonder" {
				t.Fatalf("%+v, %v", l, err)
			}
			if !a.vault.Current(a.of(who).password) || !a.vault.Current(a.of(who).certificate) {
				t.Error("sealed by an old key")
			}
		}
		check(load())
		old, err := os.ReadFile(keys)
		if err != nil || os.WriteFile(keys, append([]byte("new\n"), old...), 0o600) != nil {
			t.Fatal(err)
		}
		check(load())

		// What belongs to one user is of no use to another.
		a = load()
		if err := a.save(t.Context(), other, a.of(who)); err != nil {
			t.Fatal(err)
		}
		if _, err := load().login(other, "nick"); !errors.Is(err, errLocked) {
			t.Errorf("a copied secret: %v", err)
		}
		// A lost or a broken key locks secrets; new ones are taken with a new key only.
		if err := os.Remove(keys); err != nil {
			t.Fatal(err)
		}
		a = load()
		if _, err := a.login(who, "nick"); !errors.Is(err, errLocked) {
			t.Errorf("with a lost key: %v", err)
		}
		if err := store(a, who); err != nil {
			t.Error(err)
		}
		check(load())
		if err := os.WriteFile(keys, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		a = load()
		if _, err := a.login(who, "nick"); !errors.Is(err, errLocked) || store(a, who) == nil {
			t.Errorf("with a broken key file: %v", err)
		}
		if err := a.save(t.Context(), who, account{}); err != nil {
			t.Fatal(err)
		}
		if l, err := load().login(who, "nick"); err != nil || l.asked() || l.name != "nick" {
			t.Errorf("after it was forgotten: %+v, %v", l, err)
		}
	})
}
