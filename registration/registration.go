// Package registration knows application services by their registration files:
// it parses, checks, writes and generates them, and says which service a user,
// an alias or a room belongs to (Application Service API § Registration). It
// reads files and nothing else.
package registration

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"

	"trestle/internal/matrix"
)

// A Registration is one application service as its file describes it. It is
// not changed after it has been parsed.
type Registration struct {
	ID              string
	URL             string // empty: the service wants no traffic
	ASToken         string // the service shows it to the homeserver
	HSToken         string // the homeserver shows it to the service
	SenderLocalpart string
	Namespaces      Namespaces
	RateLimited     bool // true unless the file says otherwise
	Protocols       []string

	ReceiveEphemeral bool // receive_ephemeral
	PushEphemeral    bool // de.sorunome.msc2409.push_ephemeral, the key before v1.13
	DeviceLists      bool // org.matrix.msc3202
	DeviceManagement bool // io.element.msc4190

	QueryToken QueryToken // trestle.query_token
	Previous   Previous   // trestle.previous_tokens

	File     string    // where it was read, or empty
	Warnings []Problem // what is odd, but no reason to refuse the file
	lines    lines
}

// lines are where a file says what no two services can have in common; 0 where
// there is no file.
type lines struct{ id, asToken, sender int }

// Previous are the tokens that a service had before they were changed, and until
// when they are good. Empty ones were not changed.
type Previous struct {
	ASToken, HSToken string
	Until            time.Time
}

// Good reports whether the tokens are still to be honoured.
func (p Previous) Good(now time.Time) bool { return now.Before(p.Until) }

// Namespaces are the names that a service is interested in.
type Namespaces struct {
	Users, Aliases, Rooms []Namespace
}

// A Namespace is one expression of a namespace. It matches whole IDs only.
type Namespace struct {
	Regex     string
	Exclusive bool
	expr      *regexp.Regexp // anchored at both ends
	plain     *plain         // the same, if it is plain
}

// A QueryToken says whether requests to the service carry its hs_token in the
// query string, as services written before v1.4 of the specification expect.
type QueryToken string

const (
	// QueryTokenAuto adds it once the service has refused the header alone.
	QueryTokenAuto QueryToken = "auto"
	// QueryTokenAlways adds it to every request.
	QueryTokenAlways QueryToken = "always"
	// QueryTokenNever keeps it out of URLs, and so out of access logs.
	QueryTokenNever QueryToken = "never"
)

const (
	maxFile       = 4 << 20 // bytes of a registration file
	maxRegex      = 8 << 10 // bytes of an expression
	maxNamespaces = 20_000  // expressions of a registration
	maxToken      = 1024
	maxProtocols  = 1000
)

// Sender is the service's own user.
func (r *Registration) Sender(server matrix.ServerName) matrix.UserID {
	return matrix.NewUserID(r.SenderLocalpart, server)
}

// WantsEphemeral reports whether typing, receipts, presence and to-device
// messages are sent, under either spelling of the key.
func (r *Registration) WantsEphemeral() bool { return r.ReceiveEphemeral || r.PushEphemeral }

// A Problem is one thing wrong, or odd, in a registration file.
type Problem struct {
	File    string
	Line    int // 0 if the problem is not in one line
	Message string
}

// Error is "file:line: message", which editors can jump to.
func (p *Problem) Error() string {
	switch {
	case p.File == "" && p.Line == 0:
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	case p.File == "":
		return fmt.Sprintf("line %d: %s", p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// NewNamespace compiles an expression. It is Go's syntax, which is that of RE2
// and free of look-around, so that matching takes linear time whatever the
// expression.
func NewNamespace(regex string, exclusive bool) (Namespace, error) {
	n := Namespace{Regex: regex, Exclusive: exclusive}
	if regex == "" {
		return n, fmt.Errorf("the expression is empty")
	}
	if len(regex) > maxRegex {
		return n, fmt.Errorf("the expression is longer than %d bytes", maxRegex)
	}
	if steps := stepsOf(regex); steps > maxSteps {
		return n, fmt.Errorf("the expression repeats too much: it stands for %d characters and choices, and may for %d", steps, maxSteps)
	}
	// Alone first: "a)|(b" would compile inside of the anchors and undo them.
	if _, err := regexp.Compile(regex); err != nil {
		return n, fmt.Errorf("the expression does not compile: %w (look-ahead, look-behind and back references are not supported)", err)
	}
	expr, err := regexp.Compile(`\A(?:` + regex + `)\z`)
	if err != nil {
		return n, fmt.Errorf("the expression does not compile: %w", err)
	}
	n.expr, n.plain = expr, plainly(regex)
	return n, nil
}

// maxSteps bounds how much of an expression each character of an ID is held against. No
// text of maxRegex has as much, unless it counts: (a?){1000} is ten characters that cost
// as much as a thousand.
const maxSteps = 10_000

// stepsOf is how long an expression is with everything written out that it counts.
func stepsOf(regex string) int {
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return 0 // which somebody else complains about
	}
	return steps(tree)
}

func steps(tree *syntax.Regexp) int {
	n := max(1, len(tree.Rune))
	if tree.Op == syntax.OpCharClass {
		n = 1
	}
	for _, sub := range tree.Sub {
		n += steps(sub)
	}
	if tree.Op == syntax.OpRepeat {
		n *= max(1, tree.Min, tree.Max)
	}
	return n
}

// Matches reports whether the whole ID matches.
func (n Namespace) Matches(id string) bool {
	if n.plain != nil {
		return n.plain.matches(id)
	}
	return n.expr.MatchString(id)
}
