package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"trestle/registration"
)

// whoami asks as an application service who it is, and returns the status.
func whoami(t *testing.T, socket, token string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://trestle/_matrix/client/v3/account/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// appserviceSteps lets a registration come and change. It returns the file
// that was generated.
func appserviceSteps(t *testing.T, data string) *registration.Registration {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tea.yaml")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("id: x\nurll: null\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		command, want string
		fails         bool
	}{
		{"generate " + file, "--id is missing", true},
		{"generate --id Tea --url http://127.0.0.1:9 --prefix al " + file, "appservice add " + file, false},
		{"generate --id Tea " + file, "exists", true},
		{"check " + filepath.Join(data, "none"), "no such file", true},
		{"check " + bad, `error: line 2: A registration has no key "urll"; did you mean "url"?`, true},
		{"check " + file, `This is a registration of "Tea", which is new.`, false},
		{"check " + file, "such as @alice:hs.example", false},
		{"add " + bad, `needs the key "as_token"`, true},
		{"add " + file, filepath.Join(data, "appservices", "Tea.yaml"), false},
		{"add " + file, "already", true},
		{"add " + file + " --replace", "in force", false},
		{"check " + file, "which is there already", false},
		{"rotate-token tea", "no application service", true},
		{"rotate-token Tea --grace never", "--grace", true},
		{"rotate-token Tea --grace 90d", "30 days", true},
	} {
		r := trestle(t, server{}, "", append([]string{"appservice"}, append(strings.Fields(step.command), "--data", data)...)...)
		if (r.code != 0) != step.fails || !strings.Contains(r.out+r.err, step.want) {
			t.Errorf("trestle appservice %s: code %d\n%s%s\nwant %q", step.command, r.code, r.out, r.err, step.want)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with tokens: %v, %v", info, err)
	}
	reg, err := registration.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

var printedToken = regexp.MustCompile(`(?m)^as_token: (\w+)$`)

func TestRegistrationsBesideTheServer(t *testing.T) {
	data, socket := prepare(t)
	serving(t, data)
	people(t, socket)
	reg := appserviceSteps(t, data)
	command := func(line, want string) result {
		t.Helper()
		r := trestle(t, server{}, "", append(strings.Fields("appservice "+line), "--data", data)...)
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Fatalf("trestle appservice %s: %+v, want %q", line, r, want)
		}
		return r
	}
	wantStatus := func(token string, want int) {
		t.Helper()
		if status := whoami(t, socket, token); status != want {
			t.Errorf("whoami: %d, want %d", status, want)
		}
	}
	wantStatus(reg.ASToken, 200)
	first := printedToken.FindStringSubmatch(command("rotate-token Tea --grace 1h", "is good until ").out)[1]
	wantStatus(reg.ASToken, 200)
	wantStatus(first, 200)
	second := printedToken.FindStringSubmatch(command("rotate-token Tea --grace 0s --hs-token", "is refused from now on").out)[1]
	wantStatus(reg.ASToken, 401)
	wantStatus(first, 401)
	wantStatus(second, 200)
	command("reload", "Nothing has changed.")
	command("remove Tea --reason moved", "no service of this server any more")
	wantStatus(second, 401)
}

func TestRegistrationsWithoutTheServer(t *testing.T) {
	data, socket := prepare(t)
	stop := serving(t, data)
	people(t, socket)
	stop()
	file := filepath.Join(t.TempDir(), "tea.yaml")
	for _, line := range []string{"generate --id Tea " + file, "check " + file, "add " + file} {
		if r := trestle(t, server{}, "", append(strings.Fields("appservice "+line), "--data", data)...); r.code != 0 {
			t.Fatalf("%s: %+v", line, r)
		}
	}
	reg, err := registration.LoadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := trestle(t, server{}, "", "appservice", "list", "--data", data)
	if r.code != 0 || !strings.Contains(r.out, "Tea  the server does not run") {
		t.Errorf("%+v", r)
	}
	r = trestle(t, server{}, "", "appservice", "rotate-token", "Tea", "--data", data)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	stop = serving(t, data)
	for _, token := range []string{reg.ASToken, printedToken.FindStringSubmatch(r.out)[1]} {
		if status := whoami(t, socket, token); status != 200 {
			t.Errorf("after the start: %d", status)
		}
	}
	stop()
	if r := trestle(t, server{}, "", "appservice", "remove", "Tea", "--reason", "moved", "--data", data); r.code != 0 {
		t.Errorf("%+v", r)
	}
	if left, err := registration.LoadDir(filepath.Join(data, "appservices")); err != nil || len(left) > 0 {
		t.Errorf("after its removal: %v, %v", left, err)
	}
}
