package testkit

import (
	"slices"
	"strings"
)

// match finds the operations that a request means, those with the most
// literal path: usually one, two where the specification has two forms of
// one request.
func (s *specification) match(method, escapedPath string) []*operation {
	segments := strings.Split(canonicalPath(escapedPath), "/")
	var best []*operation
	bestScore := -1
	for _, op := range s.operations {
		if op.Method != method {
			continue
		}
		score, ok := op.matches(segments)
		switch {
		case !ok || score < bestScore:
		case score == bestScore:
			best = append(best, op)
		default:
			best, bestScore = []*operation{op}, score
		}
	}
	return best
}

// matches counts the literal segments of a path that fits.
func (op *operation) matches(segments []string) (literal int, ok bool) {
	// An empty state key may come without its slash.
	if len(segments) == len(op.segments)-1 && strings.HasSuffix(op.Path, "/state/{eventType}/{stateKey}") {
		segments = append(segments[:len(segments):len(segments)], "")
	}
	if len(segments) != len(op.segments) {
		return 0, false
	}
	for i, segment := range op.segments {
		switch {
		case strings.HasPrefix(segment, "{"):
		case segment == segments[i]:
			literal++
		default:
			return 0, false
		}
	}
	return literal, true
}

// olderPaths are prefixes of earlier versions of the specification, which
// mean the same as those of today.
var olderPaths = [][2]string{
	{"/_matrix/client/r0/", "/_matrix/client/v3/"},
	{"/_matrix/media/r0/", "/_matrix/media/v3/"},
	{"/_matrix/media/v1/", "/_matrix/media/v3/"},
}

func canonicalPath(path string) string {
	for _, pair := range olderPaths {
		if rest, ok := strings.CutPrefix(path, pair[0]); ok && path != "/_matrix/media/v1/create" {
			return pair[1] + rest
		}
	}
	return path
}

// covered says whether the specification has a say about a path at all.
func covered(path string) bool {
	return (strings.HasPrefix(path, "/_matrix/") || strings.HasPrefix(path, "/.well-known/matrix/")) &&
		!strings.Contains(path, "/unstable/") &&
		!strings.HasPrefix(path, "/_matrix/static/") && // pages, of which only the prose speaks
		!slices.ContainsFunc(beyond, func(other string) bool {
			return path == other || strings.HasSuffix(other, "/") && strings.HasPrefix(path, other)
		})
}

// beyond are paths that the specification does not have yet, or no more. Those that
// end with a slash have others below.
var beyond = []string{
	"/_matrix/client/v4/sync",                       // MSC4186
	"/_matrix/app/v1/user", "/_matrix/app/v1/alias", // look-ups by URI
	"/_matrix/app/v1/register", "/_matrix/app/v1/unregister",
	"/_matrix/federation/v1/send_join/", "/_matrix/federation/v1/send_leave/", // before v2
}
