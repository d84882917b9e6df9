package bridge

import (
	"sync"
	"time"

	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// How often one person may give commands.
const (
	commandBurst    = 30
	commandInterval = 2 * time.Second
	commandPeople   = 10000 // that are remembered
)

// A permit is what becomes of a command.
type permit int

const (
	permitted permit = iota
	tooMany          // and the person is told
	ignored          // like those before
)

// limits count people's commands.
type limits struct {
	mu     sync.Mutex
	people *lru.Cache[matrix.UserID, allowance]
}

// An allowance is how many commands are left to somebody. Below zero, that was said.
type allowance struct {
	left   int
	filled time.Time
}

func newLimits() limits {
	return limits{people: lru.New[matrix.UserID, allowance](commandPeople, nil)}
}

// take counts one command.
func (l *limits) take(who matrix.UserID, now time.Time) permit {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, known := l.people.Get(who)
	if !known {
		a = allowance{commandBurst, now}
	}
	if n := int(now.Sub(a.filled) / commandInterval); n > 0 {
		a.left, a.filled = min(commandBurst, max(a.left, 0)+n), now
	}
	defer func() { l.people.Put(who, a) }()
	switch {
	case a.left > 0:
		a.left--
		return permitted
	case a.left == 0:
		a.left--
		return tooMany
	}
	return ignored
}
