package testkit

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// coverage counts, for the process, what was seen of each operation.
var coverage = &specCounts{seen: map[*operation]map[int]int{}}

type specCounts struct {
	mu   sync.Mutex
	seen map[*operation]map[int]int // operation → status → exchanges
}

func (c *specCounts) count(op *operation, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[op] == nil {
		c.seen[op] = map[int]int{}
	}
	c.seen[op][status]++
}

// SpecCoverage runs a package's tests and says how many of the
// specification's operations they saw succeed; with -v it lists the others.
// It is the body of a TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(testkit.SpecCoverage(m)) }
func SpecCoverage(m *testing.M) int {
	code := m.Run()
	if spec, err := loadSpecification(); err == nil {
		fmt.Fprint(os.Stderr, coverage.summary(spec, testing.Verbose()))
	}
	return code
}

func (c *specCounts) summary(spec *specification, list bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out strings.Builder
	for _, api := range specAPIs {
		total, succeeded := 0, 0
		var missing []string
		for _, op := range spec.operations {
			if op.API != api {
				continue
			}
			total++
			if c.succeeded(op) {
				succeeded++
			} else {
				missing = append(missing, op.Method+" "+op.Path)
			}
		}
		if succeeded == 0 {
			continue
		}
		fmt.Fprintf(&out, "specification: %d of %d operations of %s seen to succeed\n", succeeded, total, api)
		slices.Sort(missing)
		if list {
			for _, name := range missing {
				fmt.Fprintf(&out, "specification: not seen: %s\n", name)
			}
		}
	}
	return out.String()
}

func (c *specCounts) succeeded(op *operation) bool {
	for status := range c.seen[op] {
		if status < 400 {
			return true
		}
	}
	return false
}
