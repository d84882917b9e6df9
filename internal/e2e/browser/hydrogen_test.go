package browser_test

import (
	"bytes"
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"trestle/internal/testkit"
)

//go:embed hydrogen/index.html hydrogen/app.mjs
var hydrogen embed.FS

//go:embed hydrogen/package-lock.json
var wanted []byte

// client serves Hydrogen, as setup.sh has installed it, from an origin of its
// own, as web clients are. Without it the test is skipped, except in CI.
func client(t *testing.T, homeserver string) (url string) {
	t.Helper()
	folder := filepath.Join("..", "..", "..", ".cache", "hydrogen")
	installed, err := os.ReadFile(filepath.Join(folder, "installed.json"))
	if err != nil || !bytes.Equal(installed, wanted) {
		const advice = "hydrogen-view-sdk is not installed as package-lock.json has it (internal/testkit/scripts/setup.sh installs it)"
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: %v", advice, err)
		}
		t.Skipf("%s: %v", advice, err)
	}
	own, err := fs.Sub(hydrogen, "hydrogen")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(own))
	mux.Handle("/node_modules/", http.FileServer(http.Dir(folder)))
	mux.HandleFunc("/sw.js", func(w http.ResponseWriter, r *http.Request) { // which has to be on top
		http.ServeFile(w, r, filepath.Join(folder, "node_modules", "hydrogen-view-sdk", "lib-build", "sw.js"))
	})
	mux.HandleFunc("/config.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"defaultHomeServer": homeserver})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// TestHydrogen has alice, in a web client, join a channel by its alias and talk
// with bob, who is on a real IRC server.
func TestHydrogen(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		server := testkit.StartTrestle(t, testkit.TrestleOptions{
			Bridges: true,
			Args:    []string{"--open-registration", "--irc-network", "local=" + irc.Addr},
		})
		registration := map[string]any{"username": "alice", "password": password, "auth": map[string]any{"type": "m.login.dummy"}}
		if status, answer := request(t, server, "/register", registration); status != http.StatusOK {
			t.Fatalf("registering is %d %v", status, answer)
		}
		tab := chromium.tab(t, true)
		tab.permit("org.matrix.msc2697.v2/dehydrated_device") // of which today's clients have another kind

		tab.open(client(t, testkit.SpecProxy(t, server.BaseURL)), "#username")
		tab.fill("#username", "alice")
		tab.fill("#password", password)
		tab.picture("login")
		tab.click(".PasswordLoginView button[type=submit]")

		tab.click(".LeftPanel button.create")
		tab.press("Join Room")
		tab.fill(".JoinRoomView input", "#irc_local_#trestle:localhost")
		tab.click(".JoinRoomView button[type=submit]")
		tab.find(".MessageComposer_input textarea")
		bob.Expect(":alice!", " JOIN ", "#trestle")

		tab.fill(".MessageComposer_input textarea", "hi! ☕")
		tab.enter()
		bob.Expect(":alice!", " PRIVMSG #trestle :hi! ☕")
		bob.Say("#trestle", "hello alice, a \x02nice\x02 window")
		tab.says(", a nice window")
		tab.until("bold letters", `[...document.querySelectorAll("strong, b")].some((e) => e.innerText === "nice")`)
		tab.until("that she is meant", `[...document.querySelectorAll(".pill")].some((e) => e.innerText.endsWith("alice"))`)
		tab.fill(".MessageComposer_input textarea", "/me waves")
		tab.enter()
		bob.Expect(":alice!", " PRIVMSG #trestle :\x01ACTION waves\x01")
		bob.Say("#trestle", "\x01ACTION waves back\x01")
		tab.says("waves back")
		tab.picture("talk")
	})
}
