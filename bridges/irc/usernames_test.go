package irc

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

var userNameForm = regexp.MustCompile(`^[a-z0-9]+_[a-z2-7]+$`)

// However short user names have to be, nobody's is another's, whoever comes first after a restart.
func TestUserNamesAreNobodyElses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		load := func() *userNames {
			u, err := loadUserNames(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
		for length := identLeast; length <= identLength; length++ {
			network, names := fmt.Sprint("n", length), load()
			var users []matrix.UserID
			owners := map[string]matrix.UserID{}
			for i := range 100 {
				user := matrix.UserID(fmt.Sprintf("@alice:s%d.example", i))
				name, err := names.of(t.Context(), network, user, "home", length)
				if err != nil || owners[name] != "" || len(name) > length || !userNameForm.MatchString(name) {
					t.Fatalf("%s is %q of %d bytes, as is %q, %v", user, name, length, owners[name], err)
				}
				users, owners[name] = append(users, user), user
			}
			names = load()
			for _, user := range slices.Backward(users) {
				if name, err := names.of(t.Context(), network, user, "home", length); err != nil || owners[name] != user {
					t.Errorf("%s is %q now, %v", user, name, err)
				}
			}
		}
	})
}

func TestRoomForUserNames(t *testing.T) {
	for _, one := range []struct {
		userLen    int
		identified bool
		want       int
	}{
		{0, false, 10}, {0, true, 10}, {9, false, 8}, {9, true, 9}, {10, false, 9}, {10, true, 10}, {11, false, 10}, {30, true, 10}, {1, false, identLeast}, {-5, true, identLeast},
	} {
		if got := identRoom(one.userLen, one.identified); got != one.want {
			t.Errorf("USERLEN=%d, identd %t: %d", one.userLen, one.identified, got)
		}
	}
	for _, one := range []struct {
		given, shown string
		want         int
	}{
		{"alicealice", "~alicealic", 9}, {"alicealice", "alicealice", 10}, {"alicealice", "~alicealice", 10}, {"alicealice", "", 10}, {"alicealice", "~", 10},
		{"alicealice", "uid12345", 10}, {"alice", "alicealice", 5},
	} {
		if got := cutTo(one.given, one.shown); got != one.want {
			t.Errorf("%q, shown as %q, has %d bytes left", one.given, one.shown, got)
		}
	}
}

// Those that networks know stay, but for what is another's.
func TestUserNamesStay(t *testing.T) {
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "irc.db"), migrations.Bridges, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	names, err := loadUserNames(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	const away = "@alice:away.example"
	for user, want := range map[matrix.UserID]string{
		"@alice:home": "alice", "@alicealice:home": "alicealice", "@alicealicealice:home": "alic_wuo6w", away: "alic_utslp",
	} {
		for _, room := range []int{identRoom(0, false), identRoom(10, true), identRoom(11, false), identRoom(18, false)} {
			if name, err := names.of(t.Context(), "local", user, "home", room); name != want || err != nil {
				t.Errorf("%s is %q, and was %q, %v", user, name, want, err)
			}
		}
	}
	names.owners[userName{"other", "alic_utslp"}] = "@mallory:evil.example"
	if name, err := names.of(t.Context(), "other", away, "home", identLength); name == "alic_utslp" || err != nil {
		t.Errorf("alice has mallory's name: %q, %v", name, err)
	}
	for i := range identTries {
		names.owners[userName{"full", ident(away, "home", identLeast, i)}] = "@mallory:evil.example"
	}
	if name, err := names.of(t.Context(), "full", away, "home", identLeast); !errors.Is(err, errNoUserName) {
		t.Errorf("alice has one of mallory's names: %q, %v", name, err)
	}
}
