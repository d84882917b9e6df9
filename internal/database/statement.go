package database

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"sync"
)

// A Statement is one SQL statement for both engines. Declare it with SQL as a
// package-level variable: each is prepared at most once for a connection and
// kept for good.
type Statement struct {
	id         int // dense; index of the connections' prepared statements
	source     string
	onSQLite   string
	declared   string // directory/file:line, for messages
	effect     effect
	parameters int // the highest placeholder

	once   sync.Once
	sqlite string
	err    error
}

// effect is what a statement may do to rows.
type effect int

const (
	reads effect = iota
	locks        // FOR UPDATE and its kin
	writes
)

var registry struct {
	sync.Mutex
	statements []*Statement
}

// SQL declares a statement in PostgreSQL's dialect. Constructs that SQLite
// does not have, and that cannot be translated, need OnSQLite.
func SQL(text string) *Statement {
	s := &Statement{source: text}
	s.effect, s.parameters = inspect(text)
	if _, file, line, ok := runtime.Caller(1); ok {
		s.declared = fmt.Sprintf("%s:%d", path.Join(path.Base(path.Dir(file)), path.Base(file)), line)
	}
	registry.Lock()
	defer registry.Unlock()
	s.id = len(registry.statements)
	registry.statements = append(registry.statements, s)
	return s
}

// OnSQLite replaces the translation by a text in SQLite's dialect, in which
// only the placeholders ($1) are translated.
func (s *Statement) OnSQLite(text string) *Statement {
	s.onSQLite = text
	return s
}

// String returns the text as declared.
func (s *Statement) String() string { return s.source }

// Text returns the statement in an engine's dialect.
func (s *Statement) Text(engine Engine) (string, error) {
	if engine == PostgreSQL {
		return s.source, nil
	}
	s.once.Do(func() {
		if s.onSQLite != "" {
			s.sqlite, s.err = translatePlaceholders(s.onSQLite)
		} else {
			s.sqlite, s.err = translate(s.source)
		}
		if s.err != nil {
			s.err = fmt.Errorf("statement at %s: %w", s.declared, s.err)
		}
	})
	return s.sqlite, s.err
}

// declaredStatements returns all statements declared so far.
func declaredStatements() []*Statement {
	registry.Lock()
	defer registry.Unlock()
	return slices.Clone(registry.statements)
}
