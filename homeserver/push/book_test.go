package push_test

import (
	"context"
	"errors"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/push"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// shelf has the same rules for all users.
type shelf struct {
	set      accounts.Ruleset
	position int64
	err      error
}

func (s *shelf) PushRulesAt(context.Context, matrix.UserID) (accounts.Ruleset, int64, error) {
	return s.set, s.position, s.err
}

// Rules are compiled once, and again after each change.
func TestBook(t *testing.T) {
	source := &shelf{set: predefined(t)}
	book := push.NewBook(source)
	rules := func(user matrix.UserID) *push.Rules {
		t.Helper()
		r, err := book.Rules(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := rules("@alice:hs.example")
	if rules("@alice:hs.example") != first {
		t.Error("compiled twice")
	}
	if rules("@bob:hs.example") == first {
		t.Error("somebody else's rules")
	}
	source.set.Rule("override", ".m.rule.master").Enabled = true
	source.position = 7
	e := event(t, `{"type":"m.room.message","sender":"@bob:hs.example","content":{}}`, 2)
	if a := rules("@alice:hs.example").Match(e, &push.Reader{User: "@alice:hs.example"}); a.Notify {
		t.Error("the rules of before the change")
	}
	source.err = errors.New("no database")
	if _, err := book.Rules(t.Context(), "@alice:hs.example"); !errors.Is(err, source.err) {
		t.Error(err)
	}
}

// A rule that a user has just put, disabled or deleted decides at once.
func TestBookOfAccounts(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		service := accounts.New(accounts.Options{
			ServerName: "hs", DB: db, Store: storage.NewAccounts(db), Passwords: accounts.PasswordOptions{Memory: 64, Iterations: 1},
		})
		login, err := service.Register(t.Context(), accounts.Registration{Username: "alice", Login: &accounts.NewDevice{}})
		if err != nil {
			t.Fatal(err)
		}
		alice := login.UserID
		book := push.NewBook(service)
		expect := func(step, want string) {
			t.Helper()
			rules, err := book.Rules(t.Context(), alice)
			if err != nil {
				t.Fatal(err)
			}
			e := event(t, `{"type":"m.room.message","sender":"@bob:hs","room_id":"!r:hs","content":{"body":"cake"}}`, 3)
			if got := said(rules.Match(e, &push.Reader{User: alice})); got != want {
				t.Errorf("%s: %q, want %q", step, got, want)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		expect("predefined", "notify")
		pattern := "CAKE"
		must(service.PutPushRule(t.Context(), alice, accounts.PushRuleSpec{
			Kind: "content", ID: "cake", Pattern: &pattern, Actions: []byte(`["notify",{"set_tweak":"highlight"}]`),
		}))
		expect("put", "notify highlight")
		must(service.EnablePushRule(t.Context(), alice, "content", "cake", false))
		expect("disabled", "notify")
		must(service.SetPushRuleActions(t.Context(), alice, "underride", ".m.rule.message", []byte(`[]`)))
		expect("silenced", "")
		must(service.EnablePushRule(t.Context(), alice, "content", "cake", true))
		expect("enabled", "notify highlight")
		must(service.DeletePushRule(t.Context(), alice, "content", "cake"))
		expect("deleted", "")
	})
}
