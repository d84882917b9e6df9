// Package bench measures a server from outside: it starts the binary as a
// process of its own, drives it over HTTP and says what it saw. It judges
// nothing; docs/performance.md keeps the figures beside their budgets.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trestle/internal/heap"
)

// Options are what to measure, and where.
type Options struct {
	Binary   string        // the server
	Database string        // a PostgreSQL URL; empty: SQLite
	Duration time.Duration // of each figure that is a rate
	Senders  int           // people who talk at once, three at least
	Idle     int           // clients that wait
	Rooms    int           // of a large account; 0: none is measured
	Members  int           // of a large room; 0: none is measured
	Services int           // in a crowd
	Events   int           // that wait for a service in the step backlog
	Puppets  int           // people of Matrix in an IRC channel; 0: nothing of IRC is measured
	Quits    int           // people of IRC whom a netsplit takes, in five channels
	Only     []string      // of the steps; empty: all
	Log      io.Writer     // of the server; nil: nowhere
}

// A Figure is one result.
type Figure struct {
	Name  string
	Value string
}

// minSenders is one who is measured, one who listens and one who talks beside.
const minSenders = 3

// headroom is what the load generator may allocate between two garbage collections.
const headroom = 256 << 20

// Run measures everything.
func Run(ctx context.Context, o Options) ([]Figure, error) {
	if o.Senders < minSenders {
		return nil, fmt.Errorf("%d people cannot be measured; %d can", o.Senders, minSenders)
	}
	// Collections of this process would take the processors from the server.
	heap.KeepHeadroom(headroom)
	folder, err := os.MkdirTemp("", "trestle-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	service, err := newService(filepath.Join(folder, "appservices"))
	if err != nil {
		return nil, err
	}
	defer service.close()
	s := &server{options: o, folder: folder}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	defer func() { s.kill() }()
	b := &run{ctx: ctx, options: o, server: s, service: service, client: newClient(s.url)}
	steps := []step{
		// First what readers that catch up with a flood would disturb.
		{"latency", b.latency, false}, {"waiting", b.idle, false}, {"sends", b.sends, false}, {"service", b.delivery, false},
		{"crowd", b.crowd, false}, {"page", b.page, false}, {"start", b.restart, false}, {"large", b.large, false},
		{"members", b.members, false}, {"backlog", b.longBacklog, true},
		// Last, because they have the server start with its bridge.
		{"irc", b.irc(b.puppets, b.talk, b.split), false},
		{"irc-puppets", b.irc(b.puppets), true}, {"irc-talk", b.irc(b.talk), true}, {"irc-crowds", b.irc(b.split), true},
	}
	if steps, err = chosen(steps, o.Only); err != nil {
		return nil, err
	}
	for _, step := range append([]step{{"register", b.people, false}}, steps...) {
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b.figures, nil
}

// A step measures one or several figures.
type step struct {
	name   string
	do     func() error
	atWill bool // it takes long, and is only taken when it is asked for
}

// chosen is the steps with these names, or without any those that are not at will.
func chosen(steps []step, names []string) ([]step, error) {
	for _, name := range names {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return nil, fmt.Errorf("there is no %q to measure", name)
		}
	}
	return slices.DeleteFunc(steps, func(s step) bool {
		return !slices.Contains(names, s.name) && (len(names) > 0 || s.atWill)
	}), nil
}

// Table writes figures as Markdown.
func Table(w io.Writer, figures []Figure) error {
	if _, err := fmt.Fprint(w, "| figure | measured |\n|---|---|\n"); err != nil {
		return err
	}
	for _, f := range figures {
		if _, err := fmt.Fprintf(w, "| %s | %s |\n", f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}
