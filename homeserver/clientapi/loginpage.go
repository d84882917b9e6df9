package clientapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"trestle/homeserver/api"
)

// The page logs in for clients that know none of the ways to do it, and hands
// them the answer (Client-Server API § Login fallback).
var (
	//go:embed loginpage.html
	loginFrame string
	//go:embed loginpage.css
	loginStyle string
	//go:embed loginpage.js
	loginScript string

	loginPage   = strings.NewReplacer("STYLE", loginStyle, "SCRIPT", loginScript).Replace(loginFrame)
	loginPolicy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; img-src data:; connect-src 'self'" +
		"; style-src " + sourceHash(loginStyle) + "; script-src " + sourceHash(loginScript)
)

// sourceHash is how a content security policy names a part of a page.
func sourceHash(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func loginPageRoutes() []api.Route {
	return []api.Route{api.Raw(http.MethodGet, "/_matrix/static/client/login/", api.None, showLoginPage)}
}

func showLoginPage(w http.ResponseWriter, _ *http.Request, _ api.Caller, _ api.Params) error {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", loginPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Length", strconv.Itoa(len(loginPage)))
	_, err := w.Write([]byte(loginPage))
	return err
}
