package irc_test

import (
	"context"
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/matrix"
	"trestle/internal/testkit/fakehomeserver"
)

func uriService(t testing.TB) *irc.Service {
	t.Helper()
	h := fakehomeserver.New(t)
	service, err := irc.New(context.Background(), config(h, "irc.example.org:6697", t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	return service
}

func TestURIs(t *testing.T) {
	s, server := uriService(t), string(fakehomeserver.ServerName)
	for uri, want := range map[string]string{
		"irc://irc.example.org/trestle":           "#irc_local_#trestle:" + server,
		"ircs://IRC.example.org:6697/%23Trestle":  "#irc_local_#trestle:" + server,
		"irc://local/#trestle":                    "#irc_local_#trestle:" + server,
		"irc://Local/trestle,needkey":             "#irc_local_#trestle:" + server,
		"irc://local/alice,isnick":                "M_NOT_FOUND",
		"irc://elsewhere.example/trestle":         "M_NOT_FOUND",
		"irc://local/":                            "M_NOT_FOUND",
		"irc://local/two%20words":                 "M_NOT_FOUND",
		"irc://local/" + strings.Repeat("x", 300): "M_NOT_FOUND",
		"irc://local/%":                           "M_INVALID_PARAM",
	} {
		alias, err := s.AliasOfURI(t.Context(), uri)
		if got := string(alias) + matrix.Code(err); got != want {
			t.Errorf("%s is %s, %v; want %s", uri, got, err, want)
		}
	}
	for uri, want := range map[string]string{
		"irc://local/Alice,isnick":        "@irc_local_alice:" + server,
		"irc://local/alice!a@host,isuser": "@irc_local_alice:" + server,
		"irc://irc.example.org/alice":     "@irc_local_alice:" + server,
		"irc://local/%23trestle":          "M_NOT_FOUND",
		"irc://elsewhere.example/alice":   "M_NOT_FOUND",
	} {
		user, err := s.UserOfURI(t.Context(), uri)
		if got := string(user) + matrix.Code(err); got != want {
			t.Errorf("%s is %s, %v; want %s", uri, got, err, want)
		}
	}
}

// Whatever is asked for, an answer is an ID that can be.
func FuzzURIs(f *testing.F) {
	for _, seed := range []string{"irc://local/trestle", "irc://local/#a#b", "irc://local/%00", "irc:local", "irc://local/a,isnick,isuser", "irc://[::1]/x"} {
		f.Add(seed)
	}
	s := uriService(f)
	f.Fuzz(func(t *testing.T, uri string) {
		if alias, err := s.AliasOfURI(t.Context(), uri); err == nil {
			if _, err := matrix.ParseRoomAlias(string(alias)); err != nil {
				t.Errorf("%q is %q: %v", uri, alias, err)
			}
		}
		if user, err := s.UserOfURI(t.Context(), uri); err == nil {
			if _, err := matrix.ParseUserID(string(user)); err != nil {
				t.Errorf("%q is %q: %v", uri, user, err)
			}
		}
	})
}
