package clientapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/browsers"
	"trestle/internal/matrix"
)

// Pages for browsers: stages of authentication that a client does not know
// (Client-Server API § Fallback), and the links in mails. They work without
// scripts, but for puzzles, and load nothing from elsewhere.
func (a *accountAPI) pageRoutes() []api.Route {
	const fallback = "/_matrix/client/v3/auth/{authType}/fallback/web"
	explain := api.Errors(errorPage)
	return []api.Route{
		api.Raw("GET", fallback, api.None, a.stagePage, explain),
		api.Raw("POST", fallback, api.None, a.submitStage, api.Limit("login"), api.BodyLimit(maxForm), explain),
		api.Raw("GET", accounts.SubmitTokenPath, api.None, a.verifyPage, explain),
		api.Raw("POST", accounts.SubmitTokenPath, api.None, a.submitVerification, api.Limit("login"), api.BodyLimit(maxForm), explain),
	}
}

const maxForm = browsers.MaxForm

// A page is what [pageTemplate] shows.
type page struct {
	accounts.Page
	Error  string
	Hidden map[string]string // values that the form sends along
	Facts  []fact
	Rows   []row
	Boxes  []box
	Action string
	// Buttons are instead of the one that goes on, After are links.
	Buttons []button
	After   []exit
	Ways    []way  // to go on, instead of a form
	Next    string // where the answer to the form may lead, or nowhere
	// Referrer tells this server's own pages where a request comes from.
	Referrer bool
	Done     bool // tells the window that opened this one
	Refresh  int  // the page looks again after so many seconds; 0: it does not
	Nonce    string
	Script   template.URL
}

// A fact is something that a page tells about what it asks for.
type fact struct{ Name, Value string }

// A row is one of a list, and leads somewhere.
type row struct{ Name, URL, Note string }

// A box can be ticked or left.
type box struct{ Name, Label string }

// A way is a link that looks like a button.
type way struct{ Name, URL string }

// An exit is a link to another page. Its address is one of this server's, or one that was
// checked when it was registered or configured.
type exit struct {
	Name string
	URL  template.URL
}

// A button says which of several is done.
type button struct{ Name, Value, Label string }

// pageStyle is how all pages look.
const pageStyle = `body { font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 3rem auto; padding: 0 1rem; color: #222; background: #fff; }
label { display: block; margin: 1rem 0; }
input:not([type=checkbox]) { display: block; width: 100%; box-sizing: border-box; padding: .5rem; font: inherit; }
button { padding: .6rem 1.4rem; margin: 0 .5rem .5rem 0; font: inherit; }
a.way { display: block; margin: .8rem 0; padding: .6rem 1.4rem; border: 1px solid; border-radius: .3rem; text-align: center; text-decoration: none; }
dt { font-weight: bold; }
dd { margin: 0 0 .5rem; overflow-wrap: anywhere; }
.error { color: #a00; }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #222; } a { color: #9cf; } .error { color: #f99; } }
`

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
{{with .Refresh}}<meta http-equiv="refresh" content="{{.}}">
{{end}}<title>{{.Title}}</title>
<style nonce="{{.Nonce}}">
` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
{{with .Error}}<p class="error" role="alert">{{.}}</p>{{end}}
{{with .Text}}<p>{{.}}</p>{{end}}
{{with .Links}}<ul>{{range .}}<li><a href="{{.URL}}" target="_blank" rel="noopener noreferrer">{{.Name}}</a></li>{{end}}</ul>{{end}}
{{with .Facts}}<dl>{{range .}}<dt>{{.Name}}</dt><dd>{{.Value}}</dd>{{end}}</dl>{{end}}
{{with .Rows}}<ul>{{range .}}<li><a href="{{.URL}}">{{.Name}}</a>{{with .Note}} – {{.}}{{end}}</li>{{end}}</ul>{{end}}
{{range .Ways}}<a class="way" href="{{.URL}}">{{.Name}}</a>
{{end}}{{if .Action}}<form method="post" action="{{.Action}}">
{{range $name, $value := .Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}{{range .Fields}}<label>{{.Label}}<input name="{{.Name}}" type="{{if .Secret}}password{{else}}text{{end}}" autocomplete="{{.Completes}}"{{with .Value}} value="{{.}}"{{end}}{{if not .Optional}} required{{end}}></label>
{{end}}{{range .Boxes}}<label><input type="checkbox" name="{{.Name}}" value="yes"> {{.Label}}</label>
{{end}}{{with .Agree}}<label><input type="checkbox" name="agree" value="yes" required> {{.}}</label>
{{end}}{{with .Captcha}}<div class="{{.Class}}" data-sitekey="{{.SiteKey}}"></div>
{{end}}{{range .Buttons}}<button type="submit" name="{{.Name}}" value="{{.Value}}">{{.Label}}</button>
{{else}}<button type="submit">{{with .Continue}}{{.}}{{else}}Continue{{end}}</button>
{{end}}</form>{{end}}
{{range .After}}<p><a href="{{.URL}}">{{.Name}}</a></p>
{{end}}</main>
{{if .Done}}<script nonce="{{.Nonce}}">
if (window.onAuthDone) {
  window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
  window.opener.postMessage("authDone", "*");
}
</script>{{end}}
{{with .Script}}<script nonce="{{$.Nonce}}" src="{{.}}" async defer></script>{{end}}
</body>
</html>
`))

// write shows the page. What it may load is said for each.
func (p *page) write(w http.ResponseWriter, status int) error {
	p.Nonce = rand.Text()
	policy := "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src data:; style-src 'nonce-" + p.Nonce + "'; script-src 'nonce-" + p.Nonce + "'"
	if p.Captcha != nil {
		// The puzzle's script loads others and a frame, and styles what it adds.
		policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src data: https:; style-src 'unsafe-inline' https:; frame-src https:; connect-src https:; script-src 'nonce-" + p.Nonce + "' 'strict-dynamic'"
		p.Script = template.URL(p.Captcha.Script) // from the configuration
	}
	if p.Action != "" {
		policy += "; form-action 'self'" + originOf(p.Next)
	}
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, p); err != nil {
		return fmt.Errorf("show a page: %w", err)
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	if p.Referrer {
		header.Set("Referrer-Policy", "same-origin")
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, err := w.Write(body.Bytes())
	return err
}

// originOf is the origin of an address as a content security policy has it,
// with a space before it; empty for what is no address. Of applications' own
// links it is the scheme, and so it is of IPv6 addresses, which cannot be said
// there.
func originOf(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme == "" || strings.ContainsAny(u.Host, " ;,'\""):
		return ""
	case u.Scheme != "http" && u.Scheme != "https", strings.HasPrefix(u.Host, "["):
		return " " + u.Scheme + ":"
	case u.Host == "":
		return ""
	}
	return " " + u.Scheme + "://" + u.Host
}

// explain shows an error that the reader can do something about; others are
// returned.
func (p *page) explain(w http.ResponseWriter, err error) error {
	var known *matrix.Error
	if !errors.As(err, &known) {
		return err
	}
	p.Error = known.Message
	for name, values := range known.Header {
		w.Header()[name] = values
	}
	return p.write(w, known.Status)
}

// errorPage shows errors to people, as a page, and returns those of programs,
// which do not ask for one.
func errorPage(w http.ResponseWriter, r *http.Request, err error) error {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return err
	}
	return (&page{Page: accounts.Page{Title: "This did not work"}}).explain(w, err)
}

// stagePage shows the page of a stage.
func (a *accountAPI) stagePage(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	stage, err := a.accounts.PageStage(params.Path("authType"))
	if err != nil {
		return err
	}
	session := params.Query("session")
	if session == "" {
		return matrix.MissingParam("The query parameter session is missing.")
	}
	p := newStagePage(stage, session)
	if err := a.accounts.ValidSession(session); err != nil {
		p.Action = ""
		return p.explain(w, err)
	}
	if p.Redirect != "" {
		http.Redirect(w, r, p.Redirect, http.StatusFound)
		return nil
	}
	return p.write(w, http.StatusOK)
}

func newStagePage(stage accounts.PageStage, session string) *page {
	action := "/_matrix/client/v3/auth/" + url.PathEscape(stage.Name()) + "/fallback/web?session=" + url.QueryEscape(session)
	return &page{Page: stage.Page(session), Action: action}
}

// submitStage takes what a page of a stage has sent.
func (a *accountAPI) submitStage(w http.ResponseWriter, r *http.Request, who api.Caller, params api.Params) error {
	stage, err := a.accounts.PageStage(params.Path("authType"))
	if err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return matrix.InvalidParam("The form could not be read.")
	}
	session := params.Query("session")
	if session == "" {
		session = r.PostForm.Get("session")
	}
	p := newStagePage(stage, session)
	if err := a.accounts.ValidSession(session); err != nil {
		p.Action = ""
		return p.explain(w, err)
	}
	if p.Redirect != "" {
		return matrix.MethodNotAllowed()
	}
	if err := a.completeStage(r.Context(), stage, session, r.PostForm, who.RemoteAddr); err != nil {
		return p.explain(w, err)
	}
	return donePage().write(w, http.StatusOK)
}

func donePage() *page {
	return &page{Page: accounts.Page{Title: "Done", Text: "You can close this window and go back to your application."}, Done: true}
}

func (a *accountAPI) completeStage(ctx context.Context, stage accounts.PageStage, session string, form url.Values, from string) error {
	user, err := stage.Submit(ctx, form, from)
	if err != nil {
		return err
	}
	return a.accounts.CompletePage(ctx, session, stage, user, form)
}

// verification is what the link in a mail says.
func verification(values url.Values) accounts.Verification {
	return accounts.Verification{SID: values.Get("sid"), ClientSecret: values.Get("client_secret"), Token: values.Get("token")}
}

// verifyPage asks for one more click: programs that look through mails follow
// links, too, but press no buttons.
func (a *accountAPI) verifyPage(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	v := verification(r.URL.Query())
	p := &page{Page: accounts.Page{Title: "Confirm your address"}}
	session, err := a.accounts.PeekVerification(r.Context(), v)
	if err != nil {
		return p.explain(w, err)
	}
	p.Text, p.Continue, p.Action, p.Next = session.Address, "This is my address", accounts.SubmitTokenPath, session.NextLink
	if session.Purpose == accounts.ForPassword {
		p.Title, p.Continue = "Set a new password", "Allow it"
	}
	p.Hidden = map[string]string{"sid": v.SID, "client_secret": v.ClientSecret, "token": v.Token}
	return p.write(w, http.StatusOK)
}

func (a *accountAPI) submitVerification(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	if err := r.ParseForm(); err != nil {
		return matrix.InvalidParam("The form could not be read.")
	}
	p := &page{Page: accounts.Page{Title: "Confirmed", Text: "Thank you. You can go back to your application now."}}
	next, err := a.accounts.Verify(r.Context(), verification(r.PostForm))
	if err != nil {
		p.Title, p.Text = "Confirm your address", ""
		return p.explain(w, err)
	}
	if next != "" {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	return p.write(w, http.StatusOK)
}
