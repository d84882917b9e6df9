package irc

import (
	"context"
	"embed"
	"net/http"
	"strings"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

//go:embed widget
var widgetFiles embed.FS

const (
	widgetKey = "trestle_irc"

	// The page may be framed by any client: it acts for nobody but who the client says it is for, by a
	// token that only that client has.
	widgetPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors *"
)

// widgetEvents are how clients know the widgets of a room: as most do, and as the proposal has it (MSC1236).
var widgetEvents = []string{"im.vector.modular.widgets", "m.widget"}

// handleWidget serves the page that shows a room's links, in a frame of a Matrix client.
func (s *Service) handleWidget(mux *http.ServeMux) {
	for name, kind := range map[string]string{"widget": "text/html", "widget.js": "text/javascript", "widget.css": "text/css"} {
		file := name
		if name == "widget" {
			file = "widget.html"
		}
		content, err := widgetFiles.ReadFile("widget/" + file)
		if err != nil {
			panic(err)
		}
		mux.HandleFunc("GET "+PublicPath+name, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", kind+"; charset=utf-8")
			h.Set("Content-Security-Policy", widgetPolicy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("X-Robots-Tag", "noindex, nofollow")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			h.Set("Cache-Control", "no-cache")
			_, _ = w.Write(content)
		})
	}
}

// widgetURL is the page's address, with the words that clients fill in.
func (s *Service) widgetURL() string {
	return strings.TrimSuffix(s.config.PublicURL, "/") + PublicPath + "widget?roomId=$matrix_room_id&widgetId=$matrix_widget_id"
}

// commandWidget puts the page into a room, for a moderator.
func (s *Service) commandWidget(ctx context.Context, call *bridge.Call) (string, error) {
	l, err := s.lodging(ctx, call.Room)
	if err != nil {
		return "", err
	}
	if !l.joined[call.Sender] || l.power(call.Sender) < l.stateDefault() {
		return "", matrix.NewError(403, codeNoPower, "That is for moderators of the room.")
	}
	bot := s.bridge.Client().Bot()
	content := map[string]any{
		"id": widgetKey, "type": "m.custom", "name": "IRC", "url": s.widgetURL(),
		"creatorUserId": bot.ID, "roomId": call.Room, "data": map[string]any{"title": "Channels of this room"},
	}
	err = client.Retry(ctx, nil, func(ctx context.Context) error {
		for _, name := range widgetEvents {
			if err := bot.SendState(ctx, call.Room, name, widgetKey, content, time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case client.Is(err, "M_FORBIDDEN"):
		return "I may not do that here. Say yourself: /addwidget " + s.widgetURL(), nil
	case err != nil:
		return "", err
	}
	return "There is a widget now that shows the room's links.", nil
}
