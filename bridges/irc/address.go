package irc

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/format"
	"trestle/bridges/links"
	"trestle/internal/matrix"
)

// PublicPath is where Public answers. It stands behind the public URL.
const PublicPath = "/_trestle/irc/"

// What links lead to.
const (
	linkFile byte = 'f'
	linkText byte = 't'
)

const (
	usualLine  = 400 // bytes of text in a line of IRC, about
	maxPreview = 200 // bytes of a text that stand before the link to the whole
	maxName    = 60  // bytes of a file's name in its address
)

// link is the address of something that an event has.
func (n *network) link(p *bridge.Portal, e *client.Event, kind byte, index int) string {
	s := n.service
	id := s.signer.ID(links.Link{
		Kind: kind, Portal: p.ID(), Event: matrix.EventID(e.ID), Index: index,
		Expires: time.Now().Add(s.config.LinkLifetime),
	})
	where := "text/"
	if kind == linkFile {
		where = "media/"
	}
	return strings.TrimSuffix(s.config.PublicURL, "/") + PublicPath + where + id
}

// fileLink is the address of an event's file: 0 is its own, the others are pictures in the text.
func (n *network) fileLink(p *bridge.Portal, e *client.Event, index int, name string) string {
	return n.link(p, e, linkFile, index) + "/" + plainName(name)
}

// plainName is a file's name as it may stand in any address.
func plainName(name string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		case r == ' ':
			return '_'
		}
		return -1
	}, name)
	extension := path.Ext(kept)
	base := strings.Trim(strings.TrimSuffix(kept, extension), "._-")
	if base == "" {
		base = "file"
	}
	if len(extension) > 10 {
		extension = ""
	}
	return base[:min(len(base), maxName)] + strings.TrimSuffix(extension, ".")
}

// files are the mxc:// URIs of a message, by the index that a link has: its own file, or
// nothing, and then the pictures in its text.
func files(content *event.MessageEventContent) []string {
	list := []string{fileOf(content)}
	if content.Format == event.FormatHTML {
		list = append(list, format.Images(content.FormattedBody)...)
	}
	return list
}

// pictures gives addresses to the pictures in a text.
func (n *network) pictures(p *bridge.Portal, e *client.Event, content *event.MessageEventContent) func(string) (string, bool) {
	var list []string
	return func(uri string) (string, bool) {
		if list == nil {
			list = files(content)
		}
		index := slices.Index(list[1:], uri) + 1
		if _, _, ok := mediaID(uri); !ok || index < 1 {
			return "", false
		}
		return n.fileLink(p, e, index, "picture"), true
	}
}

// mediaID takes an mxc:// URI apart (Client-Server API § Matrix Content (mxc://) URIs).
func mediaID(uri string) (server, id string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "mxc://")
	server, id, found := strings.Cut(rest, "/")
	if !ok || !found || server == "" || id == "" || len(uri) > 512 {
		return "", "", false
	}
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", "", false
		}
	}
	_, err := matrix.ParseServerName(server)
	return server, id, err == nil
}

// shorten makes a text that would take too many lines into its beginning and a link to the
// whole.
func (n *network) shorten(p *bridge.Portal, e *client.Event, text format.Lines) []string {
	lines := 0
	for _, line := range text.Text {
		lines += 1 + len(line)/usualLine
	}
	if !text.Cut && lines <= n.now().MaxLines {
		return text.Text
	}
	if len(text.Text) == 0 { // so far there are spaces
		return []string{"a long text: " + n.link(p, e, linkText, 0)}
	}
	count := strconv.Itoa(len(text.Text))
	if text.Cut {
		count = "more than " + count
	}
	unit := "lines"
	if len(text.Text) == 1 {
		unit = "line"
	}
	return []string{fmt.Sprintf("%s (%s %s, all of it: %s)", clip(plain(text.Text[0]), maxPreview), count, unit, n.link(p, e, linkText, 0))}
}
