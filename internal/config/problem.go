package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with the configuration.
type Problem struct {
	Where   string // "trestle.yaml:12", "TRESTLE_LISTEN", "--listen", or empty for a default
	Key     string // "media.max_upload", or empty if the file as a whole is meant
	Message string

	line int
}

func (p Problem) String() string {
	parts := make([]string, 0, 3)
	for _, part := range []string{p.Where, p.Key, p.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Problems are all that is wrong, in the order of the file.
type Problems []Problem

// Error is one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// An origin is where a setting got its value from.
type origin struct {
	where string // as in Problem
	line  int    // in the file; 0 elsewhere
	layer layer
}

// A layer is one of the sources, each stronger than the one before it.
type layer int

const (
	layerDefault layer = iota
	layerFile
	layerEnvironment
	layerFlag
)

func (l *loader) problemf(at origin, key, format string, args ...any) {
	l.problems = append(l.problems, Problem{Where: at.where, Key: key, Message: fmt.Sprintf(format, args...), line: at.line})
}

// invalidf reports a value that was read but cannot be: where it was set, or
// where the nearest section around it was.
func (l *loader) invalidf(key, format string, args ...any) {
	l.problemf(l.originOf(key), key, format, args...)
}

func (l *loader) originOf(key string) origin {
	for at := key; at != ""; {
		if o, ok := l.origins[at]; ok {
			return o
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	return origin{}
}

// setOrigin notes where a setting came from; what a weaker source said about
// its parts is forgotten.
func (l *loader) setOrigin(key string, at origin) {
	for held := range l.origins {
		if strings.HasPrefix(held, key+"[") || strings.HasPrefix(held, key+".") {
			delete(l.origins, held)
		}
	}
	l.origins[key] = at
}

func (l *loader) err() error {
	if len(l.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return cmp.Compare(a.line, b.line) })
	return Problems(l.problems)
}

// nearest is the known name that was probably meant, or empty.
func nearest(name string, known []string) string {
	best, bestDistance := "", 3
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// editDistance counts insertions, deletions and replacements; names longer
// than any key count as far away.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
