package homeserver_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// Two servers, as processes, know each other, and what they know of each other outlives them.
func TestServersAsProcesses(t *testing.T) {
	authority := testkit.NewAuthority(t)
	judged := &http.Client{Transport: testkit.SpecTransport(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}})}
	t.Cleanup(judged.CloseIdleConnections)
	serve := func() *testkit.Trestle {
		certificate, key := authority.Files("127.0.0.1")
		name := testkit.FreeAddress(t)
		return testkit.StartTrestle(t, testkit.TrestleOptions{
			ServerName: name,
			Args: []string{
				"--federation-listen", name, "--tls-cert", certificate, "--tls-key", key, "--ca-file", authority.File(), "--open-registration",
			},
			Env: []string{"TRESTLE_FEDERATION_ALLOW_ADDRESSES=127.0.0.0/8"},
		})
	}
	here, there := serve(), serve()
	bob := login(t, there.BaseURL, "bob")
	if err := bob.SetDisplayName(t.Context(), "Bob"); err != nil {
		t.Fatal(err)
	}
	ask := func(url string, into any) {
		t.Helper()
		response, err := judged.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		raw, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s %v", url, response.StatusCode, raw, err)
		}
		decode(t, raw, into)
	}
	profile := func() {
		t.Helper()
		var shown struct{ Displayname string }
		if ask(here.BaseURL+"/_matrix/client/v3/profile/"+bob.UserID.String(), &shown); shown.Displayname != "Bob" {
			t.Errorf("bob is %+v", shown)
		}
	}
	profile()
	there.Restart()
	here.Restart() // and has forgotten what bob is called
	profile()
	// What one knows of the other, which is gone, it still tells.
	here.Kill()
	there.Restart()
	var known struct {
		Keys []json.RawMessage `json:"server_keys"`
	}
	ask("https://"+there.ServerName+"/_matrix/key/v2/query/"+here.ServerName, &known)
	if len(known.Keys) != 1 {
		t.Fatalf("%d answers", len(known.Keys))
	}
	var own struct {
		Verify map[matrix.KeyID]struct{ Key string } `json:"verify_keys"`
	}
	ask("https://"+there.ServerName+"/_matrix/key/v2/server", &own)
	for id, key := range own.Verify {
		public, err := matrix.DecodeBase64(key.Key)
		if err == nil {
			err = matrix.VerifyJSON(known.Keys[0], matrix.ServerName(there.ServerName), id, public)
		}
		if err != nil {
			t.Error(err)
		}
	}
}
