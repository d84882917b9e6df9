package browser_test

import (
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
	"trestle/registration"
)

// operated is a server with an application service that takes nothing before
// well says so, and with samples of a day.
func operated(t *testing.T, well *atomic.Bool) (*testkit.Trestle, *testkit.FakeAS) {
	t.Helper()
	fake := testkit.NewJudgedAS(t, "hs_token")
	fake.Answer = func(testkit.Attempt) int {
		if well.Load() {
			return http.StatusOK
		}
		return http.StatusBadGateway
	}
	folder := t.TempDir()
	for id, address := range map[string]string{"telegram": fake.URL, "quiet": "", "whatsapp": fake.URL} {
		reg := registration.Generate(id, address, id+"bot")
		reg.HSToken = fake.HSToken
		if id == "telegram" {
			space, err := registration.NewNamespace("!.*", false)
			if err != nil {
				t.Fatal(err)
			}
			reg.Namespaces.Rooms = append(reg.Namespaces.Rooms, space)
		} else {
			reg.HSToken += id
		}
		if err := reg.Write(filepath.Join(folder, id+".yaml")); err != nil {
			t.Fatal(err)
		}
	}
	server := testkit.StartTrestle(t, testkit.TrestleOptions{Args: []string{"--open-registration", "--appservices", folder}})
	server.Command(password+"\n", "user", "create", "root", "--admin", "--password-stdin")
	server.Stop()
	sampled(t, filepath.Join(server.Data, "trestle.db"))
	server.Start()
	return server, fake
}

// sampled puts samples of the last day into a server's database.
func sampled(t *testing.T, file string) {
	t.Helper()
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(t.Context(), file, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var samples []storage.DeliverySample
	now := time.Now().Truncate(time.Minute)
	for i := range 23 * 60 {
		if i > 400 && i < 460 {
			continue // it was down
		}
		p := storage.DeliverySample{Service: "telegram", At: now.Add(-time.Duration(i+1) * time.Minute).UnixMilli()}
		p.Events = int64(120 + 80*math.Sin(float64(i)/90))
		if i > 700 && i < 800 {
			p.Events, p.Failures, p.Backlog = 0, 2, int64(800-i)*130
			p.Age = int64(800-i) * 60_000
		}
		samples = append(samples, p)
	}
	err = db.Update(t.Context(), func(tx *database.Tx) error {
		return storage.NewConsole(db).SaveSamples(t.Context(), tx, samples, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// looks makes a tab a screen so many points wide, dark or light. Nothing sticks
// out to the side.
func (t *tab) looks(width, height int, dark bool) {
	t.t.Helper()
	t.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	t.do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	t.until("a page as wide as the screen", "document.documentElement.scrollWidth <= innerWidth")
}

// TestConsole has an operator find out why a bridge gets nothing, take away what
// it does not take, and send it again; the page follows.
func TestConsole(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	var well atomic.Bool
	server, fake := operated(t, &well)
	console := server.BaseURL + "/_trestle/console"
	tab := chromium.tab(t, true)
	tab.open(console, "input[name=password]")
	tab.picture("sign-in")
	tab.fill("input[name=user]", "root")
	tab.fill("input[name=password]", "a guess")
	tab.permit("status of 403")
	tab.click("main button")
	tab.find("[role=alert]")
	tab.fill("input[name=password]", password)
	tab.click("main button")
	tab.says("Up to date")
	tab.until("that it follows", `document.querySelector("#following.live")`)

	registered := map[string]any{"username": "alice", "password": password, "auth": map[string]any{"type": "m.login.dummy"}}
	_, alice := request(t, server, "/register", registered)
	requestAs(t, server, alice["access_token"].(string), "/createRoom", map[string]any{
		// In the first event, with which a transaction may begin and end.
		"creation_content": map[string]string{"example.note": "<script>alert(1)</script>"},
	})
	tab.says("Failing") // without loading it again
	tab.says("status 502")
	tab.looks(1200, 700, false)
	tab.picture("overview")
	tab.looks(390, 844, true)
	tab.picture("overview-phone")
	tab.looks(1200, 1300, true)

	// The page gets over a restart.
	tab.permit("ERR_")
	server.Stop()
	tab.says("Not live")
	server.Start()
	tab.until("that it follows again", `document.querySelector("#following.live")`)
	tab.says("Failing")

	tab.press("telegram")
	tab.find(".plot .line")
	tab.says("The last day")
	tab.picture("service-dark")
	tab.looks(390, 1800, false)
	tab.picture("service-phone")
	tab.looks(1200, 1300, false)
	tab.picture("service")
	tab.fill("input[name=reason]", "the bridge is being upgraded")
	tab.press("Pause")
	tab.says("The delivery is paused")
	tab.says("the bridge is being upgraded")
	tab.must(tab.eval(`void new EventSource(document.querySelector("[data-follow]").dataset.follow).addEventListener("change", () => window.changed = true)`, nil))
	tab.hold("Look inside", func() { // a click is one although the page changes meanwhile
		tab.must(tab.eval("window.changed = false", nil))
		requestAs(t, server, alice["access_token"].(string), "/createRoom", map[string]any{})
		tab.until("a change", "window.changed")
	})
	tab.says("<script>alert(1)</script>")
	tab.picture("transaction")
	tab.fill("input[name=reason]", "it cannot read it")
	tab.press("Skip to the dead letters")
	tab.says("The transaction is a dead letter now.")
	tab.click(`a[href*="/letters"]`)
	tab.says("it cannot read it")
	tab.picture("letters")
	tab.click("tbody th a")
	tab.says("<script>alert(1)</script>")
	tab.picture("letter")
	well.Store(true)
	tab.permit("status of 409")
	tab.press("Send it again")
	tab.says("is paused")
	tab.open(console+"/appservice?id=telegram", "button[value=resume]")
	tab.press("Resume")
	tab.says("The delivery goes on.")
	tab.open(console+"/letter?number=1", "button[value=replay]")
	tab.press("Send it again")
	tab.says("The service has taken the dead letter.")
	fake.UntilSeen(t, "the room", func(list []*appservice.Transaction) bool {
		for _, txn := range list {
			for _, e := range txn.Events {
				if strings.Contains(string(e), "m.room.create") {
					return true
				}
			}
		}
		return false
	})
	tab.open(console+"/appservice?id=telegram", ".deeds")
	tab.looks(1200, 1300, false)
	tab.picture("deeds")
	tab.press("All of it")
	tab.says("Sent a dead letter again")
	tab.says("it cannot read it")
	tab.looks(390, 844, true)
	tab.picture("deeds-phone")
	tab.looks(1200, 700, false)
	tab.press("Sign out")
	tab.find("input[name=password]")
}

// TestConsoleWithoutScripts has an operator read all of it.
func TestConsoleWithoutScripts(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	server, _ := operated(t, new(atomic.Bool))
	registered := map[string]any{"username": "alice", "password": password, "auth": map[string]any{"type": "m.login.dummy"}}
	_, alice := request(t, server, "/register", registered)
	requestAs(t, server, alice["access_token"].(string), "/createRoom", map[string]any{"name": "Tea"})
	tab := chromium.tab(t, false)
	service := server.BaseURL + "/_trestle/console/appservice?" + url.Values{"id": {"telegram"}}.Encode()
	tab.open(service, "input[name=password]")
	tab.fill("input[name=user]", "root")
	tab.fill("input[name=password]", password)
	tab.click("main button")
	tab.says("The last day")
	tab.until("no word of following", `document.querySelector("#following").hidden`)
	tab.click("summary")
	tab.says("Most waiting")
	for deadline := time.Now().Add(patience); ; tab.open(service, ".plot .line") {
		var failing bool
		tab.must(tab.eval(`document.body.innerText.includes("status 502")`, &failing))
		if failing || time.Now().After(deadline) {
			break
		}
	}
	tab.says("status 502")
	tab.press("Look inside")
	tab.says("m.room.create")
	tab.press("Application services")
	tab.says("No URL")
	tab.looks(390, 844, false)
	tab.picture("phone")
	tab.press("telegram")
	tab.press("Retry now")
	tab.says("The next attempt begins now.")
}
