package testkit

import (
	"slices"
	"strings"
	"sync"
)

// SeenPrefix begins the line by which a test says which operations of the
// specification it was the first of its process to see succeed, with their
// methods and paths behind it, separated by commas.
const SeenPrefix = "operations seen: "

// coverage is what the process has seen succeed.
var coverage specCoverage

type specCoverage struct {
	mu   sync.Mutex
	seen map[*operation]bool
}

// first reports whether the operation was not seen before.
func (c *specCoverage) first(op *operation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[op] {
		return false
	}
	if c.seen == nil {
		c.seen = map[*operation]bool{}
	}
	c.seen[op] = true
	return true
}

// seenLine is what a test prints, or empty.
func seenLine(operations []*operation) string {
	var names []string
	for _, op := range operations {
		names = append(names, op.Method+" "+op.Path)
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return SeenPrefix + strings.Join(names, ", ")
}
