package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/appservice/sender"
	"trestle/registration"
)

// What a service has written shows none of its tokens, and does nothing to the
// page.
func TestHostileService(t *testing.T) {
	const id = `../"><script>alert(1)</script>`
	reg := registration.Generate(id, "https://user:hunter2@bridge.example/?access_token=x", "bot")
	reg.HSToken, reg.ASToken = "hs/secret+of&all", "as_secret_of_all"
	reg.Previous.HSToken = "hs_secret_of_yesterday"
	set, err := registration.NewSet("hs.example", reg)
	if err != nil {
		t.Fatal(err)
	}
	a := &consoleAPI{Options: Options{ServerName: "hs.example", Registry: registration.NewRegistry(set)}, now: time.Now}
	for _, c := range []struct{ text, want string }{
		{"GET /?access_token=hs%2Fsecret%2Bof%26all: refused", "GET /?access_token=•••: refused"},
		{`status 403: "not hs/secret+of&all"`, `status 403: "not •••"`},
		{`status 403: "not with as_secr"`, `status 403: "not with •••"`},
		{"hs_secret_of_yesterday is over", "••• is over"},
		{"nothing of the kind", "nothing of the kind"},
	} {
		if got := a.hide(id, c.text); got != c.want {
			t.Errorf("%s is shown as %s, want %s", c.text, got, c.want)
		}
	}
	hostile := fmt.Sprintf(`<img src=x onerror=alert(1)> %s %s`, reg.HSToken, strings.Repeat("x", 5000))
	s := sender.Status{ID: id, LastError: hostile, Attempts: 3, Live: true, Paused: true, PausedReason: "<script>alert(2)</script>", Current: "<svg onload=alert(3)>"}
	shown := a.card(reg, s, true)
	var b bytes.Buffer
	for page, data := range map[string]any{"overview": &view{Data: overview{Cards: []card{shown}}}, "service": &view{Title: id, Data: serviceView{card: shown}}} {
		if err := templates[page].Execute(&b, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"<script>alert", "<img", "<svg onload", "hunter2", "access_token", "secret", strings.Repeat("x", 2000)} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the pages have %q: %s", bad, b.String())
		}
	}
	if !strings.Contains(b.String(), "https://bridge.example/") {
		t.Error("the address is not there")
	}
}
