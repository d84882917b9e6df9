package ircstory_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"maunium.net/go/mautrix"

	"trestle/internal/testkit"
)

// linksNeedNoLogin follows what bob is given for alice's picture, at the homeserver's own
// address, until she takes it back.
func linksNeedNoLogin(t *testing.T, alice *person, bob *testkit.IRCClient) {
	t.Helper()
	uploaded, err := alice.UploadMedia(t.Context(), mautrix.ReqUploadMedia{
		ContentBytes: []byte("GIF89a picture"), ContentType: "image/gif", FileName: "cat.gif",
	})
	if err != nil {
		t.Fatal(err)
	}
	picture := alice.says("picture", map[string]any{"msgtype": "m.image", "body": "cat.gif", "url": uploaded.ContentURI.String()})
	line := bob.Expect(":alice", "sent cat.gif: http://", "/_trestle/irc/media/")
	address := line[strings.Index(line, "http://"):]
	if status, body := get(t, address); status != http.StatusOK || body != "GIF89a picture" {
		t.Errorf("%s is %d %q", address, status, body)
	}
	if _, err := alice.RedactEvent(t.Context(), alice.room, picture); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, address); status != http.StatusGone {
		t.Errorf("after its redaction: %d %q", status, body)
	}
}

// get is what somebody without an account sees.
func get(t *testing.T, address string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}
