package irc

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/links"
	"trestle/internal/matrix"
)

const (
	publicAtOnce = 64               // requests; more are asked to come later
	publicStall  = 30 * time.Second // how long a reader may take for a piece of a file
	publicPiece  = 64 << 10         // bytes of it

	// Nothing that is handed out may do anything in a browser.
	publicPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'; object-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// A gone is why a link leads nowhere, to whoever follows it.
type gone struct {
	status int
	text   string
}

func (g *gone) Error() string { return g.text }

var (
	errNoSuchLink = &gone{http.StatusNotFound, "There is nothing at this address."}
	errExpired    = &gone{http.StatusGone, "This link has expired."}
	errRedacted   = &gone{http.StatusGone, "This message was removed."}
	errTooLarge   = &gone{http.StatusForbidden, "This file is too large to be shown here."}
	errBusy       = &gone{http.StatusServiceUnavailable, "Too many people are here at the moment."}
	errAway       = &gone{http.StatusBadGateway, "The server of this message does not answer at the moment."}
)

// Public serves what links lead to, for people without a login. It is reached at
// [Config].PublicURL.
func (s *Service) Public() http.Handler {
	busy := make(chan struct{}, publicAtOnce)
	mux := http.NewServeMux()
	handle := func(pattern string, serve func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc("GET "+PublicPath+pattern, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", publicPolicy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("X-Robots-Tag", "noindex, nofollow")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			h.Set("Cache-Control", "private, no-cache") // it may be redacted
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
			default:
				s.refuse(w, r, errBusy)
				return
			}
			if err := serve(w, r); err != nil {
				s.refuse(w, r, err)
			}
		})
	}
	handle("media/{id}/{name}", s.serveFile)
	handle("text/{id}", s.serveText)
	mux.Handle(provisionPath, s.provisioning())
	s.handleWidget(mux)
	return mux
}

// refuse says why there is nothing.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	known, ok := errors.AsType[*gone](err)
	if !ok {
		if r.Context().Err() == nil {
			s.log.Warn("a link could not be followed", "err", err)
		}
		known = errAway
	}
	http.Error(w, known.text, known.status)
}

// A linked is the event behind a link.
type linked struct {
	link    links.Link
	portal  *bridge.Portal
	event   *event.Event
	content *event.MessageEventContent
}

// follow reads the event that a link names, if it still is what was said. Asking the homeserver
// each time has a redaction count at once.
func (s *Service) follow(r *http.Request, kind byte) (*linked, error) {
	l, err := s.signer.Parse(r.PathValue("id"), time.Now())
	switch {
	case errors.Is(err, links.ErrExpired):
		return nil, errExpired
	case err != nil || l.Kind != kind:
		return nil, errNoSuchLink
	}
	p := s.bridge.FindID(l.Portal)
	if p == nil || p.Room() == "" {
		return nil, errNoSuchLink
	}
	e, err := s.present(r.Context(), p, l.Event)
	if err != nil {
		return nil, err
	}
	content := e.Content.AsMessage()
	if original := content.RelatesTo.GetReplaceID(); original != "" && content.NewContent != nil {
		if _, err := s.present(r.Context(), p, matrix.EventID(original)); err != nil {
			return nil, err
		}
		content = content.NewContent
	}
	return &linked{l, p, e, content}, nil
}

// present is an event that was not redacted.
func (s *Service) present(ctx context.Context, p *bridge.Portal, id matrix.EventID) (*event.Event, error) {
	e, err := p.Event(ctx, id)
	switch {
	case client.Is(err, "M_NOT_FOUND"), client.Is(err, "M_FORBIDDEN"):
		return nil, errNoSuchLink
	case err != nil:
		return nil, err
	case e.Unsigned.RedactedBecause != nil || len(e.Content.Raw) == 0:
		return nil, errRedacted
	}
	return e, nil
}

func (s *Service) serveFile(w http.ResponseWriter, r *http.Request) error {
	l, err := s.follow(r, linkFile)
	if err != nil {
		return err
	}
	list := files(l.content)
	if l.link.Index < 0 || l.link.Index >= len(list) {
		return errNoSuchLink
	}
	server, id, ok := mediaID(list[l.link.Index])
	if !ok {
		return errNoSuchLink
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	file, err := s.bridge.Client().Bot().Media(ctx, server, id)
	switch {
	case client.Is(err, "M_NOT_FOUND"):
		return errNoSuchLink
	case err != nil:
		return err
	}
	defer file.Body.Close()
	if file.ContentLength > s.config.LinkMaxSize {
		return errTooLarge
	}
	name, kind, body := r.PathValue("name"), file.Header.Get("Content-Type"), io.Reader(file.Body)
	if l.link.Index == 0 {
		name = fileName(l.content)
		if kind, body, err = opened(l.content, kind, body); err != nil {
			return errNoSuchLink
		}
	}
	describe(w.Header(), kind, name)
	if file.ContentLength < 0 && r.Method == http.MethodGet {
		return s.copyFile(w, io.LimitReader(body, s.config.LinkMaxSize))
	}
	w.Header().Set("Content-Length", file.Header.Get("Content-Length"))
	if r.Method == http.MethodHead {
		return nil
	}
	return s.copyFile(w, body)
}

// copyFile hands a file on, to a reader that must not stall.
func (s *Service) copyFile(w http.ResponseWriter, from io.Reader) error {
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the next answer has its own time
	piece := make([]byte, publicPiece)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(publicStall))
			if _, err := w.Write(piece[:n]); err != nil {
				return nil // the reader has gone
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			s.log.Info("a file broke off", "err", err)
			panic(http.ErrAbortHandler) // so that nobody takes the part for the whole
		}
	}
}

// shown are the types that a browser may show (Client-Server API § Serving inline content).
var shown = map[string]bool{
	"text/plain": true, "image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true, "audio/wave": true,
	"audio/wav": true, "audio/x-wav": true, "audio/x-pn-wav": true, "audio/flac": true, "audio/x-flac": true,
}

// describe says what a file is: anything that could do harm is to be stored.
func describe(h http.Header, contentType, name string) {
	kind, _, err := mime.ParseMediaType(contentType)
	disposition := "inline"
	switch {
	case err != nil || !shown[kind]:
		kind, disposition = "application/octet-stream", "attachment"
	case kind == "text/plain":
		kind += "; charset=utf-8"
	}
	h.Set("Content-Type", kind)
	if named := mime.FormatMediaType(disposition, map[string]string{"filename": name}); named != "" {
		disposition = named
	}
	h.Set("Content-Disposition", disposition)
}

// fileName is a file's name without what leads elsewhere.
func fileName(content *event.MessageEventContent) string {
	name := content.FileName
	if name == "" {
		name = content.Body
	}
	name = path.Base(strings.ReplaceAll(oneLine(name), `\`, "/"))
	if name == "." || name == "/" || len(name) > 255 {
		return "file"
	}
	return strings.ToValidUTF8(name, "")
}
