package irc

import (
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"

	"trestle/bridges/irc/format"
)

// page shows a text to people who have followed a link.
var page = template.Must(template.New("text").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>{{.Sender}} in {{.Channel}}</title>
<style>
body { font: 1rem/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
pre { font: .95rem/1.5 monospace; white-space: pre-wrap; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } }
</style>
</head>
<body>
<p><strong>{{.Sender}}</strong> in {{.Channel}}, <time datetime="{{.Machine}}">{{.Time}}</time></p>
<pre>{{.Text}}</pre>
</body>
</html>
`))

// serveText shows the whole of a text whose beginning is on IRC: as a page to browsers, as
// plain text to everything else.
func (s *Service) serveText(w http.ResponseWriter, r *http.Request) error {
	l, err := s.follow(r, linkText)
	if err != nil {
		return err
	}
	text := bodyOf(l.content)
	if start, ok := parsePoll(l.event.Content.VeryRaw); ok {
		text = start.text()
	}
	if text == "" {
		text = strings.Join(format.ToIRC(l.content.FormattedBody, format.ToOptions{}).Text, "\n")
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := io.WriteString(w, text)
		return err
	}
	sender := l.event.Sender.String()
	if n := s.network(l.portal.Key().Network); n != nil {
		if nick, ok := n.nickOf(sender); ok {
			sender = nick
		}
	}
	at := time.UnixMilli(l.event.Timestamp).UTC()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return page.Execute(w, struct{ Sender, Channel, Machine, Time, Text string }{
		sender, decode(l.portal.Name()), at.Format(time.RFC3339), at.Format("2 January 2006, 15:04 UTC"), text,
	})
}
