package database

import (
	"context"
	"slices"
	"sync"
)

// A Trace is what was read on behalf of a context, outside of transactions: the
// statements, by where they are declared.
type Trace struct {
	mu         sync.Mutex
	statements []string
}

type traceKey struct{}

// Traced returns a context all of whose reading is in the Trace.
func Traced(ctx context.Context) (context.Context, *Trace) {
	t := new(Trace)
	return context.WithValue(ctx, traceKey{}, t), t
}

// Statements is what was read so far, each as often as it was.
func (t *Trace) Statements() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.statements)
}

func trace(ctx context.Context, stmt *Statement) {
	t, ok := ctx.Value(traceKey{}).(*Trace)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.statements = append(t.statements, stmt.declared())
}
