package accounts_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

type elsewhere accounts.Profile

func (e elsewhere) RemoteProfile(context.Context, matrix.UserID, string) (accounts.Profile, error) {
	return accounts.Profile(e), nil
}

// Of what another server writes, what could be a profile here is shown.
func TestProfilesOfOtherServers(t *testing.T) {
	s := open(t, testkit.SQLite(t))
	profile := elsewhere{
		"displayname": json.RawMessage(`"A"`), "avatar_url": json.RawMessage(`"mxc://a/b"`), "m.tz": json.RawMessage(`"Europe/Berlin"`),
		"org.example.x": json.RawMessage(`{"b": 1, "a": null}`), "Not a field": json.RawMessage(`1`), "org.example.none": json.RawMessage(`null`),
		"org.example." + strings.Repeat("x", 300): json.RawMessage(`1`), "org.example.deep": json.RawMessage(strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),
	}
	s.Observe(accounts.Observers{Remote: profile})
	shown, err := s.WholeProfile(t.Context(), "@a:elsewhere.example")
	if got := slices.Sorted(maps.Keys(shown)); err != nil || !slices.Equal(got, []string{"avatar_url", "displayname", "m.tz", "org.example.x"}) || string(shown["org.example.x"]) != `{"a":null,"b":1}` {
		t.Errorf("%v %s %v", got, shown["org.example.x"], err)
	}
	for field, value := range map[string]string{
		"displayname": `["A"]`, "avatar_url": `"https://tracker.example/pixel"`, "m.tz": `1`, "org.example.none": `null`, "m.other": ``,
	} {
		s.Observe(accounts.Observers{Remote: elsewhere{field: json.RawMessage(value)}})
		if shown, err := s.ProfileField(t.Context(), "@a:elsewhere.example", field); matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("%s: %s %v", field, shown, err)
		}
	}
	s.Observe(accounts.Observers{Remote: elsewhere{"displayname": json.RawMessage(`"` + strings.Repeat("x", 1025) + `"`)}})
	if shown, err := s.ProfileField(t.Context(), "@a:elsewhere.example", "displayname"); matrix.Code(err) != "M_NOT_FOUND" {
		t.Errorf("a long name: %d bytes, %v", len(shown), err)
	}
}
