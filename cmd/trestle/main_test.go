package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/matrix"
)

// A recorder is a homeserver that remembers what it was asked to do.
type recorder struct {
	config *config.Config
	user   NewUser
	people int
	err    error
}

func (r *recorder) Run(_ context.Context, cfg *config.Config, log *slog.Logger, ready func(func(context.Context) (bool, error))) error {
	r.config = cfg
	if r.err != nil {
		return r.err
	}
	log.Info("running")
	ready(func(context.Context) (bool, error) { return r.people == 0, nil })
	return nil
}

func (r *recorder) CreateUser(_ context.Context, cfg *config.Config, _ *slog.Logger, user NewUser) (matrix.UserID, error) {
	r.config, r.user = cfg, user
	return matrix.NewUserID(user.Localpart, cfg.ServerName), r.err
}

func (r *recorder) Operator(context.Context, *config.Config, *slog.Logger) (Operator, error) {
	return nil, r.err
}

type result struct {
	code     int
	out, err string
}

func trestle(t *testing.T, homeserver Homeserver, input string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), append([]string{"bin/trestle"}, args...), nil, streams{strings.NewReader(input), &out, &errs}, homeserver)
	return result{code, out.String(), errs.String()}
}

func TestFirstStartAndSecond(t *testing.T) {
	t.Chdir(t.TempDir())
	homeserver := recorder{err: errors.New("the port is taken")}
	// A start that fails after it has made the folder was not the first one.
	if failed := trestle(t, &homeserver, "", "serve"); failed.code == 0 || failed.out != "" {
		t.Errorf("a start that fails: %+v", failed)
	}
	homeserver.err = nil
	first := trestle(t, &homeserver, "", "serve")
	if first.code != 0 {
		t.Fatal(first.err)
	}
	for _, want := range []string{
		"Trestle is running as localhost",
		"  bin/trestle user create alice\n",
		"any Matrix client at http://127.0.0.1:8008",
		"#irc_local_#trestle:localhost is #trestle on 127.0.0.1:6667",
		homeserver.config.File,
	} {
		if !strings.Contains(first.out, want) {
			t.Errorf("the first start does not say %q:\n%s", want, first.out)
		}
	}
	for _, name := range []string{"trestle.yaml", "signing.key", "appservices"} {
		if _, err := os.Stat(filepath.Join("data", name)); err != nil {
			t.Error(err)
		}
	}
	key, _ := os.ReadFile("data/signing.key")
	homeserver.people = 1
	second := trestle(t, &homeserver, "", "serve")
	again, _ := os.ReadFile("data/signing.key")
	if second.code != 0 || second.out != "" || !bytes.Equal(key, again) {
		t.Errorf("the second start: %+v", second)
	}
	if strings.Contains(second.err, "new one was made") || !strings.Contains(second.err, "msg=stopped") {
		t.Error(second.err)
	}
}

func TestServerNameStays(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	var homeserver recorder
	if r := trestle(t, &homeserver, "", "serve", "--data", data, "--server-name", "hs1", "--listen", ":1", "--listen", ":2", "--no-bridges"); r.code != 0 {
		t.Fatal(r.err)
	}
	if c := homeserver.config; c.ServerName != "hs1" || len(c.Listen) != 2 || !c.NoBridges || c.Data != data {
		t.Errorf("%+v", c)
	}
	if r := trestle(t, &homeserver, "", "serve", "--data", data); r.code != 0 {
		t.Fatal(r.err)
	}
	if c := homeserver.config; c.ServerName != "hs1" || len(c.Listen) != 1 || c.NoBridges {
		t.Errorf("the second time: %+v", c)
	}
}

func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("server_name: x\nnonsense: 1\nmax_body: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--config", bad}, "bad.yaml:2: nonsense: there is no such setting\nbad.yaml:3: max_body:"},
		{[]string{"--config", bad}, "the configuration has 2 problems"},
		{[]string{"--config", filepath.Join(dir, "none.yaml")}, "none.yaml: no such file"},
		{[]string{"--nonsense"}, "unknown flag: --nonsense"},
		{[]string{"--data", filepath.Join(dir, "new"), "--server-name", "a b"}, "server_name:"},
		{[]string{"extra"}, "unknown command"},
	} {
		r := trestle(t, &recorder{}, "", append([]string{"serve"}, c.args...)...)
		if r.code != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: code %d\n%s\nwant %s", c.args, r.code, r.err, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a refused first start left a folder behind")
	}
	r := trestle(t, &recorder{err: errors.New("the sky fell")}, "", "serve", "--data", filepath.Join(dir, "d"))
	if r.code != 1 || !strings.Contains(r.err, "the sky fell") {
		t.Errorf("an error of the server: %+v", r)
	}
}

func TestCreateUser(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	create := func(homeserver Homeserver, input string, args ...string) result {
		return trestle(t, homeserver, input, append([]string{"user", "create", "--data", data}, args...)...)
	}
	if r := create(&recorder{}, "", "alice"); r.code != 1 || !strings.Contains(r.err, "there is no server in "+data) {
		t.Errorf("without a server: %+v", r)
	}
	if r := trestle(t, &recorder{}, "", "init", "--data", data, "--server-name", "example.org"); r.code != 0 {
		t.Fatal(r.err)
	}
	var homeserver recorder
	r := create(&homeserver, "correct horse \nnot this\n", "alice", "--password-stdin", "--admin")
	if r.code != 0 || r.out != "Created @alice:example.org.\n" || homeserver.user != (NewUser{"alice", "correct horse ", true}) {
		t.Errorf("%+v, %#v", r, homeserver.user.Password.Reveal())
	}
	r = create(&homeserver, "", "@bob:example.org")
	if want := fmt.Sprintf("Created @bob:example.org.\nPassword: %s\n", homeserver.user.Password.Reveal()); r.out != want || len(homeserver.user.Password) < 20 {
		t.Errorf("%+v, not %s", r, want)
	}
	for _, c := range []struct {
		input string
		args  []string
		want  string
	}{
		{"", []string{"alice", "--password-stdin"}, "no password on standard input"},
		{"\n", []string{"alice", "--password-stdin"}, "no password on standard input"},
		{strings.Repeat("x", 5000), []string{"alice", "--password-stdin"}, "longer than 4096"},
		{"", []string{"Alice"}, `"Alice" cannot be a user's name`},
		{"", []string{"@alice:elsewhere.org"}, "is not of this server"},
		{"", []string{}, "accepts 1 arg"},
	} {
		if r := create(&recorder{}, c.input, c.args...); r.code != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: %+v, not %s", c.args, r, c.want)
		}
	}
	if r := create(&recorder{err: matrix.UserInUse()}, "", "alice"); r.code != 1 || !strings.Contains(r.err, "create @alice:example.org: M_USER_IN_USE") {
		t.Errorf("%+v", r)
	}
}

func TestInitAndCheckConfig(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	if r := trestle(t, &recorder{}, "", "check-config", "--data", data); r.code != 0 || !strings.Contains(r.out, "the defaults are fine for localhost") {
		t.Errorf("without a file: %+v", r)
	}
	r := trestle(t, &recorder{}, "", "init", "--data", data, "--server-name", "example.org", "--open-registration")
	if r.code != 0 || !strings.Contains(r.out, "bin/trestle serve --data "+data) {
		t.Errorf("%+v", r)
	}
	if r := trestle(t, &recorder{}, "", "check-config", "--data", data); r.code != 0 || !strings.Contains(r.out, "is fine for example.org") {
		t.Errorf("%+v", r)
	}
	if r := trestle(t, &recorder{}, "", "init", "--data", data); r.code != 1 || !strings.Contains(r.err, "is there already") {
		t.Errorf("%+v", r)
	}
	if r := trestle(t, &recorder{}, "", "init", "--config", "x"); r.code != 1 || !strings.Contains(r.err, "--data") {
		t.Errorf("%+v", r)
	}
	if r := trestle(t, &recorder{}, "", "check-config", "--data", data, "--listen", "x"); r.code != 1 || !strings.Contains(r.err, "--listen: listen[0]:") {
		t.Errorf("%+v", r)
	}
}

// What stops a start is found before it.
func TestCheckConfigReadsRegistrations(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	if r := trestle(t, &recorder{}, "", "init", "--data", data); r.code != 0 {
		t.Fatal(r.err)
	}
	const tea = "id: tea\nurl: null\nas_token: one\nhs_token: two\nsender_localpart: tea\nnamespaces: {}\n"
	for name, c := range map[string]struct {
		text string
		code int
		want string
	}{
		"good":      {strings.NewReplacer("tea", "coffee", "one", "three").Replace(tea), 0, "is fine for localhost"},
		"odd":       {strings.NewReplacer("tea", "coffee", "one", "three").Replace(tea) + "sugar: 2\n", 0, "warning: " + filepath.Join(data, "appservices", "b.yaml:7: ")},
		"wrong":     {"id: 7\n", 1, "b.yaml:1: \"id\" must be a string"},
		"the other": {tea, 1, "b.yaml:1: The id \"tea\" is taken by "},
	} {
		for file, text := range map[string]string{"a.yaml": tea, "b.yaml": c.text} {
			if err := os.WriteFile(filepath.Join(data, "appservices", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if r := trestle(t, &recorder{}, "", "check-config", "--data", data); r.code != c.code || !strings.Contains(r.out+r.err, c.want) {
			t.Errorf("%s: %+v, want %s", name, r, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	if r := trestle(t, &recorder{}, "", "version"); r.code != 0 || !strings.HasPrefix(r.out, "trestle ") {
		t.Errorf("%+v", r)
	}
	if r := trestle(t, &recorder{}, "", "--version"); r.code != 0 || !strings.Contains(r.out, "trestle") {
		t.Errorf("%+v", r)
	}
	if r := trestle(t, &recorder{}, "", "serve", "--help"); r.code != 0 || !strings.Contains(r.out, "--irc-network NETWORK") {
		t.Errorf("%+v", r)
	}
}
