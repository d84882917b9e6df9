package irc

import (
	"net/url"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/bridges/irc/wire"
)

// sourced is a message with the address at which it can be read outside of Matrix.
type sourced struct {
	*event.MessageEventContent
	URL string `json:"external_url,omitempty"`
}

// sourced adds the address that the operator has configured, if any.
func (n *network) sourced(ch *channel, m *wire.Message, content *event.MessageEventContent) sourced {
	return sourced{content, externalURL(n.now().ExternalURL, n.config.ID, decode(ch.name), m.Time)}
}

// externalURL fills a template: what comes from IRC can only ever be one part of
// a path, or of a query, in it. Times are in UTC.
func externalURL(template, network, channel string, at time.Time) string {
	if template == "" {
		return ""
	}
	if at.IsZero() {
		at = time.Now()
	}
	at = at.UTC()
	return strings.NewReplacer(
		"{network}", part(network), "{channel}", part(channel), "{name}", part(strings.TrimLeft(channel, "#&!+")),
		"{date}", at.Format(time.DateOnly), "{time}", at.Format(time.TimeOnly),
		"{year}", at.Format("2006"), "{month}", at.Format("01"), "{day}", at.Format("02"),
	).Replace(template)
}

// part is text as a part of a path or of a query. A dot is escaped where it is
// all there is, so that it leads to no other folder.
func part(text string) string {
	if text == "." || text == ".." {
		return strings.ReplaceAll(text, ".", "%2E")
	}
	return strings.NewReplacer("+", "%2B", "&", "%26", "=", "%3D").Replace(url.PathEscape(text))
}
