package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// LogOptions choose what a logger writes.
type LogOptions struct {
	Level  string // debug, info, warn or error
	Format string // text or json
}

// NewLogger writes structured lines to w. Lines logged with a context carry
// the attributes that [WithAttrs] and [WithRequestID] put there.
func NewLogger(w io.Writer, opts LogOptions) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(opts.Level)); err != nil {
		return nil, fmt.Errorf("log level %q is none of debug, info, warn, error", opts.Level)
	}
	handlerOptions := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch opts.Format {
	case "text":
		handler = slog.NewTextHandler(w, handlerOptions)
	case "json":
		handlerOptions.ReplaceAttr = durationsAsText
		handler = slog.NewJSONHandler(w, handlerOptions)
	default:
		return nil, fmt.Errorf("log format %q is neither text nor json", opts.Format)
	}
	return slog.New(contextHandler{handler}), nil
}

// durationsAsText writes durations as text logs have them, with their unit.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

type contextKey int

const (
	attrsKey contextKey = iota
	requestIDKey
)

// WithAttrs returns a context that adds attributes to every line logged with
// it. The attributes of ctx stay.
func WithAttrs(ctx context.Context, attrs ...slog.Attr) context.Context {
	held, _ := ctx.Value(attrsKey).([]slog.Attr)
	all := make([]slog.Attr, 0, len(held)+len(attrs))
	all = append(append(all, held...), attrs...)
	return context.WithValue(ctx, attrsKey, all)
}

// WithRequestID returns a context whose log lines carry the request's ID.
func WithRequestID(ctx context.Context, id string) context.Context {
	return WithAttrs(context.WithValue(ctx, requestIDKey, id), slog.String("request_id", id))
}

// RequestID is the ID of the request that ctx belongs to, or empty.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// A contextHandler adds what the context holds to each record.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, record slog.Record) error {
	if attrs, _ := ctx.Value(attrsKey).([]slog.Attr); len(attrs) > 0 {
		record = record.Clone()
		record.AddAttrs(attrs...)
	}
	return h.Handler.Handle(ctx, record)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
