package legacyapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"

	"trestle/homeserver/api"
)

// The page logs somebody in whose client knows no stage of ours. The client
// gets the answer by a function onLogin that it has put into the page.
//
//go:embed fallback.html
var fallbackPage string

//go:embed fallback.js
var fallbackScript string

var fallbackPolicy = func() string {
	sum := sha256.Sum256([]byte(fallbackScript))
	return "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

func (a *legacyAPI) fallback(w http.ResponseWriter, _ *http.Request, _ api.Caller, _ api.Params) error {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", fallbackPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	_, err := w.Write([]byte(strings.Replace(fallbackPage, "SCRIPT", fallbackScript, 1)))
	return err
}
