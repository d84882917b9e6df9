package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

//go:embed pages/*.html
var pages embed.FS

var (
	//go:embed pages/console.css
	style []byte
	//go:embed pages/console.js
	script []byte
)

// A view is what a page shows.
type view struct {
	Title string
	Error string
	Done  string // what the form before has done
	Live  string // where the page follows what happens, or nowhere
	Data  any    // of the page's own template

	Server  matrix.ServerName
	Version string
	User    matrix.UserID // empty before signing in
	Token   string        // which forms send back
	Now     time.Time
}

// templates are the pages by name, each in the common frame.
var templates = func() map[string]*template.Template {
	frame := template.Must(template.New("frame.html").Funcs(words).ParseFS(pages, "pages/frame.html", "pages/parts.html"))
	all := map[string]*template.Template{}
	for _, name := range []string{"error", "login", "return", "overview", "service", "transaction", "letters", "letter", "log"} {
		all[name] = template.Must(template.Must(frame.Clone()).ParseFS(pages, "pages/"+name+".html"))
	}
	return all
}()

// fill gives a view what all of them have.
func (a *consoleAPI) fill(v *visit, p *view) *view {
	p.Server, p.Version, p.Now = a.ServerName, a.Version, a.now()
	if v.session != nil {
		p.User = v.session.User
	}
	p.Token = a.pages.Token(v.cookie)
	return p
}

// show answers with a page.
func (a *consoleAPI) show(v *visit, status int, name string, p *view) error {
	var body bytes.Buffer
	if err := templates[name].Execute(&body, a.fill(v, p)); err != nil {
		return fmt.Errorf("show the page %s: %w", name, err)
	}
	header := v.w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	v.w.WriteHeader(status)
	_, err := v.w.Write(body.Bytes())
	return err
}

// asset serves a file that pages load.
func asset(contentType string, content []byte) route {
	return func(w http.ResponseWriter, _ *http.Request, _ api.Caller, _ api.Params) error {
		header := w.Header()
		guard(header)
		header.Set("Content-Type", contentType)
		header.Set("Cache-Control", "max-age=300")
		header.Set("Content-Length", strconv.Itoa(len(content)))
		_, err := w.Write(content)
		return err
	}
}
