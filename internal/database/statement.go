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
	id       int // dense; index of the connections' prepared statements
	source   string
	onSQLite string
	caller   uintptr // who has declared it

	// A program declares hundreds and starts with a few: what a text means is looked up when it is used.
	inspected  sync.Once
	does       effect
	parameters int // the highest placeholder
	translated sync.Once
	sqlite     string
	err        error
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
	var callers [1]uintptr
	runtime.Callers(2, callers[:])
	s.caller = callers[0]
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

// declared is where the statement is, for messages: directory/file:line.
func (s *Statement) declared() string {
	frame, _ := runtime.CallersFrames([]uintptr{s.caller}).Next()
	return fmt.Sprintf("%s:%d", path.Join(path.Base(path.Dir(frame.File)), path.Base(frame.File)), frame.Line)
}

func (s *Statement) inspect() { s.inspected.Do(func() { s.does, s.parameters = inspect(s.source) }) }

// effect is what it may do to rows.
func (s *Statement) effect() effect {
	s.inspect()
	return s.does
}

// placeholders is how many arguments it wants.
func (s *Statement) placeholders() int {
	s.inspect()
	return s.parameters
}

// Text returns the statement in an engine's dialect.
func (s *Statement) Text(engine Engine) (string, error) {
	if engine == PostgreSQL {
		return s.source, nil
	}
	s.translated.Do(func() {
		if s.onSQLite != "" {
			s.sqlite, s.err = translatePlaceholders(s.onSQLite)
		} else {
			s.sqlite, s.err = translate(s.source)
		}
		if s.err != nil {
			s.err = fmt.Errorf("statement at %s: %w", s.declared(), s.err)
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
