package testkit_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

func TestStartTrestle(t *testing.T) {
	server := testkit.StartTrestle(t, testkit.TrestleOptions{ServerName: "example.org"})
	status := func(path string) int {
		t.Helper()
		response, err := http.Get(server.BaseURL + path)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	for path, want := range map[string]int{"/health": 200, "/metrics": 200, "/_matrix/client/v3/nothing": 404} {
		if got := status(path); got != want {
			t.Errorf("%s is %d, not %d", path, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(server.Data, "signing.key")); err != nil {
		t.Error(err)
	}
	pid := server.Pid()
	server.Kill()
	if got := status("/health"); got != 0 {
		t.Errorf("a dead server answers %d", got)
	}
	server.Start()
	if server.Pid() == pid || status("/health") != 200 {
		t.Error("it did not start again")
	}
	server.Restart()
	server.Stop()
	if got := status("/health"); got != 0 {
		t.Errorf("a stopped server answers %d", got)
	}
	if n := strings.Count(server.Log(), "starting"); n != 3 {
		t.Errorf("the log knows of %d starts:\n%s", n, server.Log())
	}
	if out := server.Command("", "check-config"); !strings.Contains(out, "fine for example.org") {
		t.Error(out)
	}
}

// An account that the operator makes beside the running server can log in,
// also after a kill.
func TestCreateUserBesideAServer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		server := testkit.StartTrestle(t, testkit.TrestleOptions{Database: url})
		if out := server.Command("correct horse battery\n", "user", "create", "alice", "--password-stdin"); out != "Created @alice:localhost.\n" {
			t.Error(out)
		}
		client := &http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport)}
		login := func() {
			t.Helper()
			response, err := client.Post(server.BaseURL+"/_matrix/client/v3/login", "application/json", strings.NewReader(
				`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},"password":"correct horse battery"}`))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("login is %d", response.StatusCode)
			}
		}
		login()
		server.Restart()
		login()
	})
}
