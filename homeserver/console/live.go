package console

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

const (
	// maxStreams is how many pages may follow what happens at once.
	maxStreams = 50
	// maxSilence is after how long something is said, so that proxies do not
	// take the stream for dead.
	maxSilence = 15 * time.Second
	// maxWrite is how long a browser may take to read.
	maxWrite = 20 * time.Second
)

// over is the event that ends a stream: the page has to be loaded again.
const over = "event: over\ndata: {}\n\n"

// A stream tells a page what has changed, by server-sent events: the parts of
// it that do, as HTML, by their IDs.
type stream struct {
	console *consoleAPI
	visit   *visit
	id      string            // of the service, or empty for all
	sent    map[string]string // by part
	wrote   time.Time
	minute  time.Time // for which plots were drawn
	kept    any       // what was drawn for it
}

// follow serves a stream until the browser goes, the session ends or the server
// stops.
func (a *consoleAPI) follow(ctx context.Context, v *visit) error {
	id := v.form.Get("id")
	if id != "" && a.Registry.Load().ByID(id) == nil {
		return noService(id)
	}
	if a.streams.Add(1) > maxStreams {
		a.streams.Add(-1)
		return matrix.LimitExceeded(time.Minute)
	}
	defer a.streams.Add(-1)
	header := v.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no")
	v.w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(v.w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	s := &stream{console: a, visit: v, id: id, sent: map[string]string{}, wrote: time.Now()}
	ticker := time.NewTicker(a.Tick)
	defer ticker.Stop()
	for {
		_ = control.SetWriteDeadline(time.Now().Add(maxWrite)) // not all connections have one
		more, err := s.look(ctx)
		if err == nil {
			err = control.Flush()
		}
		if err != nil || !more {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		case <-api.Draining(ctx):
			return nil
		}
	}
}

// look says what has changed since the last time; false at the end.
func (s *stream) look(ctx context.Context) (bool, error) {
	session, err := s.console.Record.Session(ctx, s.visit.cookie)
	if err != nil {
		return false, err
	}
	if session == nil {
		_, err := s.visit.w.Write([]byte(over))
		return false, err
	}
	parts, err := s.parts(ctx)
	if err != nil {
		return false, err
	}
	for name, part := range parts {
		if s.sent[name] == part {
			delete(parts, name)
		} else {
			s.sent[name] = part
		}
	}
	now := time.Now()
	if len(parts) == 0 {
		if now.Sub(s.wrote) < maxSilence {
			return true, nil
		}
		s.wrote = now
		_, err := s.visit.w.Write([]byte(": nothing new\n\n"))
		return true, err
	}
	message := bytes.NewBufferString("event: change\ndata: ")
	encoder := json.NewEncoder(message)
	encoder.SetEscapeHTML(false) // of nearly everything
	if err := encoder.Encode(parts); err != nil {
		return false, err
	}
	message.WriteByte('\n') // after that of the encoder, the end of the event
	s.wrote = now
	_, err = s.visit.w.Write(message.Bytes())
	return true, err
}

// parts are those of the page that change, as they are now. What is drawn
// changes once a minute, and is.
func (s *stream) parts(ctx context.Context) (map[string]string, error) {
	now := s.console.now().Truncate(time.Minute)
	fresh := !now.Equal(s.minute)
	parts := map[string]string{}
	if s.id == "" {
		o, err := s.allServices(ctx, fresh)
		if err != nil {
			return nil, err
		}
		s.minute, s.kept = now, o
		return parts, render(parts, "overview", "services", o)
	}
	one, err := s.oneService(ctx, fresh)
	if err != nil {
		return nil, err
	}
	s.minute, s.kept = now, one
	if err := render(parts, "service", "status", one); err != nil {
		return nil, err
	}
	return parts, render(parts, "service", "plots", one)
}

func (s *stream) allServices(ctx context.Context, fresh bool) (overview, error) {
	before, ok := s.kept.(overview)
	if fresh || !ok {
		return s.console.overview(ctx)
	}
	sparks := map[string]plot{}
	for _, c := range before.Cards {
		sparks[c.ID] = c.Spark
	}
	return s.console.sumUp(func(c *card) error {
		c.Spark = sparks[c.ID]
		return nil
	})
}

func (s *stream) oneService(ctx context.Context, fresh bool) (serviceView, error) {
	before, ok := s.kept.(serviceView)
	if fresh || !ok {
		return s.console.service(ctx, s.id)
	}
	for _, c := range s.console.cards() {
		if c.ID == s.id {
			before.card = c
			return before, nil
		}
	}
	return before, noService(s.id)
}

// render adds a part of a page to others, by the ID that it has there.
func render(parts map[string]string, page, name string, data any) error {
	var b bytes.Buffer
	if err := templates[page].ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	parts[name] = b.String()
	return nil
}
