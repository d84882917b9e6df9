package registration_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/registration"
)

func space(t testing.TB, regex string, exclusive bool) []registration.Namespace {
	t.Helper()
	n, err := registration.NewNamespace(regex, exclusive)
	if err != nil {
		t.Fatal(err)
	}
	return []registration.Namespace{n}
}

func ids(regs []*registration.Registration) string {
	var list []string
	for _, r := range regs {
		list = append(list, r.ID)
	}
	return strings.Join(list, " ")
}

// three services: irc claims @irc_, mail claims @mail_, watch looks at everyone.
func three(t testing.TB) (*registration.Set, []*registration.Registration) {
	irc := registration.Generate("irc", "", "ircbot")
	irc.Namespaces.Users = space(t, "@irc_.*", true)
	irc.Namespaces.Aliases = space(t, "#irc_.*", true)
	irc.Namespaces.Rooms = space(t, "!special:hs", false)
	mail := registration.Generate("mail", "", "mailbot")
	mail.Namespaces.Users = space(t, "@mail_.*:hs", true)
	watch := registration.Generate("watch", "", "irc_watcher")
	watch.Namespaces.Users = space(t, ".*", false)
	watch.Namespaces.Aliases = space(t, "#(irc|mail)_.*", false)
	set, err := registration.NewSet("hs", irc, mail, watch)
	if err != nil {
		t.Fatal(err)
	}
	return set, []*registration.Registration{irc, mail, watch}
}

func TestWatchersAndOwners(t *testing.T) {
	set, _ := three(t)
	users := []struct {
		user            matrix.UserID
		watchers, owner string
	}{
		{"@irc_bob:hs", "irc watch", "irc"},
		{"@mail_bob:hs", "mail watch", "mail"},
		{"@alice:hs", "watch", ""},
		{"@ircbot:hs", "irc watch", "irc"},
		{"@irc_watcher:hs", "watch irc", "watch"}, // a sender is its service's, whoever claims the name
		{"@irc_bob:elsewhere", "", ""},
		{"@xirc_bob:hs", "watch", ""},
	}
	for _, test := range users {
		for range 2 { // the second time from memory
			if got := ids(set.UserWatchers(test.user)); got != test.watchers {
				t.Errorf("%s is watched by %q, want %q", test.user, got, test.watchers)
			}
		}
		owner := ""
		if r := set.UserOwner(test.user); r != nil {
			owner = r.ID
		}
		if owner != test.owner {
			t.Errorf("%s is owned by %q, want %q", test.user, owner, test.owner)
		}
	}
	if got := ids(set.AliasWatchers("#irc_#go:hs")); got != "irc watch" || set.AliasOwner("#irc_#go:hs").ID != "irc" {
		t.Errorf("the alias is watched by %q", got)
	}
	if set.AliasOwner("#mail_x:hs") != nil || set.AliasOwner("#irc_#go:elsewhere") != nil {
		t.Error("an alias is owned that is not claimed exclusively, or not ours")
	}
	if ids(set.RoomWatchers("!special:hs")) != "irc" || ids(set.RoomWatchers("!special:hsx")) != "" {
		t.Error("a room ID must match as a whole")
	}
}

func TestExclusive(t *testing.T) {
	set, regs := three(t)
	irc, mail, watch := regs[0], regs[1], regs[2]
	users := []struct {
		who  *registration.Registration
		user matrix.UserID
		ok   bool
	}{
		{nil, "@alice:hs", true}, {nil, "@irc_x:hs", false}, {nil, "@ircbot:hs", false},
		{irc, "@irc_x:hs", true}, {irc, "@ircbot:hs", true}, {irc, "@mail_x:hs", false}, {irc, "@alice:hs", false},
		{watch, "@alice:hs", true}, {watch, "@irc_x:hs", false}, {watch, "@irc_watcher:hs", true},
		{irc, "@irc_watcher:hs", false}, {irc, "@irc_x:elsewhere", false}, {mail, "@irc_watcher:hs", false},
	}
	for _, test := range users {
		err := set.CheckUser(test.who, test.user)
		if (err == nil) != test.ok || err != nil && matrix.Code(err) != "M_EXCLUSIVE" {
			t.Errorf("service %v, user %s: %v", test.who, test.user, err)
		}
	}
	if set.CheckAlias(nil, "#irc_x:hs") == nil || set.CheckAlias(nil, "#mail_x:hs") != nil ||
		set.CheckAlias(irc, "#irc_x:hs") != nil || set.CheckAlias(watch, "#irc_x:hs") == nil ||
		set.CheckAlias(watch, "#mail_x:hs") != nil || set.CheckAlias(irc, "#other:hs") == nil {
		t.Error("aliases are not guarded like users")
	}
	if !set.Covers(watch, "@irc_x:hs") || set.Covers(irc, "@irc_watcher:hs") || set.Covers(mail, "@ircbot:hs") {
		t.Error("acting as a user needs its namespace, and nobody acts as another service's sender")
	}
}

func TestTokensAndIDs(t *testing.T) {
	set, regs := three(t)
	for _, r := range regs {
		if set.ByToken(r.ASToken) != r || set.ByID(r.ID) != r || set.ByToken(r.HSToken) != nil {
			t.Errorf("%s is not found by what is its own", r.ID)
		}
	}
	if set.ByToken("") != nil || set.ByID("") != nil || set.Server() != "hs" || len(set.All()) != 3 {
		t.Error("nobody has the empty token")
	}
	registry := registration.NewRegistry(set)
	other, _ := registration.NewSet("hs")
	if registry.Store(other); registry.Load() != other {
		t.Error("the registry did not take the new set")
	}
}

func TestDuplicates(t *testing.T) {
	a, b := registration.Generate("a", "", "abot"), registration.Generate("a", "", "abot")
	a.File, b.File = "a.yaml", "b.yaml"
	b.ASToken = a.ASToken
	_, err := registration.NewSet("hs", a, b)
	for _, want := range []string{
		`b.yaml: The id "a" is taken by a.yaml.`, "b.yaml: The as_token of \"a\"", "b.yaml: The sender @abot:hs",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	const text = "id: a\nurl: null\nas_token: t\nhs_token: u\nsender_localpart: abot\nnamespaces: {}\n"
	c, err := registration.Parse("c.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d, err := registration.Parse("d.yaml", []byte("# more\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = registration.NewSet("hs", c, d)
	for _, want := range []string{`d.yaml:2: The id "a" is taken by c.yaml.`, "d.yaml:4: The as_token", "d.yaml:6: The sender"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	long := registration.Generate("l", "", strings.Repeat("x", 250))
	if _, err := registration.NewSet("a-long-server.example.org", long); err == nil {
		t.Error("a sender above 255 bytes was taken")
	}
	var problem *registration.Problem
	if !errors.As(err, &problem) {
		t.Error("the problems cannot be looked at one by one")
	}
}

// The index must find what trying every expression finds.
func FuzzIndex(f *testing.F) {
	f.Add("@irc_.*", "@(a|b)c?[x-z]+", "@irc_x:hs")
	f.Add("(?i)@IRC.*", "^@a|@b.*$", "@irc:hs")
	f.Add("@a{2,3}(x|yz)*:hs", "(@_|@__)(?:a|b|)c.*", "@__c:hs")
	f.Fuzz(func(t *testing.T, first, second, id string) {
		id = "@" + strings.ToValidUTF8(strings.TrimPrefix(strings.TrimSuffix(id, ":hs"), "@"), "") + ":hs"
		if strings.Count(id, ":") != 1 {
			return
		}
		var regs []*registration.Registration
		want := ""
		for i, regex := range []string{first, second} {
			n, err := registration.NewNamespace(regex, false)
			if err != nil {
				return
			}
			r := registration.Generate(fmt.Sprint(i), "", fmt.Sprint("no such sender ", i))
			r.SenderLocalpart = fmt.Sprint("no-such-sender-", i)
			r.Namespaces.Users = []registration.Namespace{n}
			regs = append(regs, r)
			if n.Matches(id) {
				want = strings.TrimSpace(want + " " + r.ID)
			}
		}
		set, err := registration.NewSet("hs", regs...)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(set.UserWatchers(matrix.UserID(id))); got != want {
			t.Fatalf("%q with %q and %q: index finds %q, brute force %q", id, first, second, got, want)
		}
	})
}

// manySet is 100 services with 100 expressions each.
func manySet(b *testing.B) *registration.Set {
	var regs []*registration.Registration
	for i := range 100 {
		r := registration.Generate(fmt.Sprint(i), "", fmt.Sprintf("bot%d", i))
		for j := range 100 {
			r.Namespaces.Users = append(r.Namespaces.Users, space(b, fmt.Sprintf(`@_net%d_%d_.*:hs\.example`, i, j), true)...)
		}
		regs = append(regs, r)
	}
	set, err := registration.NewSet("hs.example", regs...)
	if err != nil {
		b.Fatal(err)
	}
	return set
}

func BenchmarkNewUserAmong10000Expressions(b *testing.B) {
	set := manySet(b)
	for i := 0; b.Loop(); i++ {
		set.UserWatchers(matrix.UserID(fmt.Sprintf("@_net7_33_%d:hs.example", i)))
	}
}

func BenchmarkKnownUserAmong10000Expressions(b *testing.B) {
	set := manySet(b)
	users := make([]matrix.UserID, 5000)
	for i := range users {
		users[i] = matrix.UserID(fmt.Sprintf("@_net%d_1_%d:hs.example", rand.IntN(100), i))
	}
	for i := 0; b.Loop(); i++ {
		set.UserWatchers(users[i%len(users)])
	}
}
