package browser_test

import (
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakeprovider"
)

// withProvider is a server at localhost that knows a provider at 127.0.0.1,
// which is another site for browsers.
func withProvider(t *testing.T, provider *fakeprovider.Provider) (server *testkit.Trestle, address string) {
	t.Helper()
	listener := testkit.FreeAddress(t)
	_, port, err := net.SplitHostPort(listener)
	if err != nil {
		t.Fatal(err)
	}
	address = "http://localhost:" + port
	data := filepath.Join(t.TempDir(), "data")
	settings := fmt.Sprintf("server_name: localhost\npublic_base_url: %s\nsso:\n  providers:\n"+
		"    - {id: work, name: Work, issuer: %q, client_id: %q, client_secret: %q, link_existing_users: true}\n",
		address, provider.URL, provider.ClientID, provider.ClientSecret)
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	// The later one of two listeners is the one that the test kit knows.
	return testkit.StartTrestle(t, testkit.TrestleOptions{Data: data, Args: []string{"--listen", listener}}), address
}

// TestConsoleElsewhere has an operator sign in to the console at a provider, in
// a browser that keeps cookies back as browsers do; and a stranger's link sign in
// nobody.
func TestConsoleElsewhere(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	provider := fakeprovider.New(t)
	provider.Be(map[string]any{"sub": "1", "preferred_username": "root"})
	server, address := withProvider(t, provider)
	server.Command(password+"\n", "user", "create", "root", "--admin", "--password-stdin")
	console := address + "/_trestle/console"
	for _, scripts := range []bool{true, false} {
		tab := chromium.tab(t, scripts)
		tab.open(console+"/letters", "input[name=password]")
		tab.picture("sign-in")
		tab.press("Sign in with Work")
		tab.says("There are none.")
		tab.says("@root:localhost")
		tab.press("Sign out")
		tab.find("input[name=password]")
	}

	// The link is one that a stranger has got from the page to sign in.
	response, err := http.Get(console + "/login")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`/_trestle/client/sso/start/[^"]*`).FindString(string(page))
	if link == "" {
		t.Fatalf("there is no link: %s", page)
	}
	tab := chromium.tab(t, true)
	tab.permit("status of 403")
	tab.open(address+html.UnescapeString(link), "[role=alert]")
	tab.says("begun in another browser")
	tab.open(console, "input[name=password]") // not signed in
	tab.press("Sign in with Work")
	tab.says("@root:localhost")
}
