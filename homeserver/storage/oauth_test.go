package storage_test

import (
	"fmt"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// What strangers can make the server remember is bounded; applications with
// sessions are kept.
func TestOAuthBounds(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		store := storage.NewAccounts(db)
		const user, device = matrix.UserID("@alice:hs"), matrix.DeviceID("PHONE")
		err = db.Update(t.Context(), func(tx *database.Tx) error {
			session := storage.OAuthSession{UserID: user, DeviceID: device, ClientID: "app-0", Scope: "x"}
			if err := store.OAuth.SaveSession(t.Context(), tx, session, []byte("code")); err != nil {
				return err
			}
			for i := range int64(6) {
				if err := store.OAuth.SaveClient(t.Context(), tx, fmt.Sprint("app-", i), "{}", i, 2); err != nil {
					return err
				}
			}
			for i := range int64(150) {
				hash := []byte(fmt.Sprint("token ", i))
				if err := store.Tokens.InsertRefresh(t.Context(), tx, hash, storage.RefreshToken{ID: i + 1, UserID: user, DeviceID: device}); err != nil {
					return err
				}
				if err := store.Tokens.Retire(t.Context(), tx, i+1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, kept := range []bool{true, false, false, true, true, true} {
			if text, err := store.OAuth.Client(t.Context(), fmt.Sprint("app-", i)); err != nil || (text != "") != kept {
				t.Errorf("app-%d: %q, %v", i, text, err)
			}
		}
		for i, kept := range map[int]bool{0: false, 48: false, 49: true, 149: true} {
			if session, err := store.OAuth.SessionOfSpent(t.Context(), []byte(fmt.Sprint("token ", i))); err != nil || (session != nil) != kept {
				t.Errorf("token %d: %v, %v", i, session, err)
			}
		}
		err = db.Update(t.Context(), func(tx *database.Tx) error {
			return store.Tokens.DeleteOfDevices(t.Context(), tx, user, []matrix.DeviceID{device})
		})
		if err != nil {
			t.Fatal(err)
		}
		if session, err := store.OAuth.Session(t.Context(), user, device); err != nil || session != nil {
			t.Errorf("the session of a device that is gone: %v, %v", session, err)
		}
	})
}
