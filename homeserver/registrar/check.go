package registrar

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"trestle/registration"
)

// Limits of what is looked at for one check.
const (
	shortToken  = 32     // characters that a token should have at least
	maxFindings = 200    // of a report
	maxPairs    = 3000   // of expressions that are compared exactly
	maxOverlaps = 50     // of a report
	maxMatches  = 100    // expressions whose matches are counted
	maxNames    = 200000 // of each kind that are looked at
	maxExamples = 5
)

// A Report says what a registration would do if it were put in force.
type Report struct {
	ID       string    `json:"id"`
	Usable   bool      `json:"usable"`   // nothing keeps it from being put in force
	Replaces bool      `json:"replaces"` // a service with this ID is there already
	Findings []Finding `json:"findings"`
	Matches  []Match   `json:"matches"`
	Overlaps []Overlap `json:"overlaps"`

	partial bool // not everything was looked at
}

// A Level says how bad a [Finding] is.
type Level string

// The levels: an error keeps the registration from being used.
const (
	Error   Level = "error"
	Warning Level = "warning"
	Note    Level = "note"
)

// A Finding is one thing about a registration, in words.
type Finding struct {
	Level Level  `json:"level"`
	Line  int    `json:"line,omitempty"`
	Text  string `json:"text"`
}

// A Match is what there is already that an expression matches.
type Match struct {
	Kind      string   `json:"kind"` // users, aliases, rooms
	Regex     string   `json:"regex"`
	Exclusive bool     `json:"exclusive"`
	Count     int      `json:"count"`
	Foreign   int      `json:"foreign"` // of users: those whom this service has not made
	Examples  []string `json:"examples"`
}

// An Overlap is two services with expressions that can match the same name.
type Overlap struct {
	Kind       string `json:"kind"`
	Regex      string `json:"regex"`
	Other      string `json:"appservice_id"`
	OtherRegex string `json:"other_regex"`
	Both       bool   `json:"both_exclusive"`
	Example    string `json:"example"`
}

func (r *Report) add(level Level, line int, format string, args ...any) {
	if level == Error {
		r.Usable = false
	}
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, Finding{level, line, fmt.Sprintf(format, args...)})
	}
}

// Check explains a registration file. The name is for messages only.
func (s *Service) Check(ctx context.Context, file string, data []byte) (*Report, error) {
	report, _, err := s.check(ctx, file, data)
	return report, err
}

// check also returns the registration, nil if it cannot be read.
func (s *Service) check(ctx context.Context, file string, data []byte) (*Report, *registration.Registration, error) {
	report := &Report{Usable: true, Findings: []Finding{}, Matches: []Match{}, Overlaps: []Overlap{}}
	reg, err := registration.Parse(file, data)
	if err != nil {
		for _, problem := range problems(err) {
			report.add(Error, problem.Line, "%s", problem.Message)
		}
		return report, nil, nil
	}
	report.ID = reg.ID
	for _, w := range reg.Warnings {
		report.add(Warning, w.Line, "%s", w.Message)
	}
	others, err := readFolders(s.options.Folders)
	if err != nil {
		report.add(Warning, 0, "The files that are there already cannot be read: %s", err)
		others = slices.Clone(s.options.Registry.Load().All())
	}
	others = slices.DeleteFunc(others, func(r *registration.Registration) bool {
		report.Replaces = report.Replaces || r.ID == reg.ID
		return r.ID == reg.ID
	})
	if _, err := registration.NewSet(s.options.ServerName, append(slices.Clone(others), reg)...); err != nil {
		for _, problem := range problems(err) {
			report.add(Error, 0, "%s", problem.Message)
		}
	}
	checkTokens(report, reg, others)
	checkURL(report, reg)
	s.checkSpaces(report, reg)
	s.overlaps(report, reg, others)
	return report, reg, s.existing(ctx, report, reg)
}

// problems takes a joined error apart.
func problems(err error) []*registration.Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var list []*registration.Problem
		for _, one := range joined.Unwrap() {
			list = append(list, problems(one)...)
		}
		return list
	}
	if problem, ok := errors.AsType[*registration.Problem](err); ok {
		return []*registration.Problem{problem}
	}
	return []*registration.Problem{{Message: err.Error()}}
}

func checkTokens(report *Report, reg *registration.Registration, others []*registration.Registration) {
	for _, t := range []struct{ key, token string }{{"as_token", reg.ASToken}, {"hs_token", reg.HSToken}} {
		if len(t.token) < shortToken {
			report.add(Warning, 0, "The %s has %d characters, which can be guessed. trestle appservice rotate-token makes one of 64.", t.key, len(t.token))
		}
		for _, other := range others {
			if other.HSToken == t.token || t.key == "hs_token" && other.ASToken == t.token {
				report.add(Warning, 0, "The %s is a token of %q, too: each of the two services could pass for the other, or for the homeserver.", t.key, other.ID)
			}
		}
	}
}

func checkURL(report *Report, reg *registration.Registration) {
	if reg.URL == "" {
		report.add(Note, 0, "There is no url: the service can act, and is sent and asked nothing.")
		return
	}
	u, err := url.Parse(reg.URL)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsLoopback() && !ip.IsPrivate() {
		report.add(Warning, 0, "Tokens and messages travel to %s in the clear; use https:// unless the way there is your own.", u.Host)
	}
}

// A kind is what a list of expressions is about.
type kind struct {
	name, one string
	spaces    []registration.Namespace
	within    string // what such an ID on this server looks like
	stranger  string // an ID that no service has a reason to claim
}

func (s *Service) kinds(reg *registration.Registration) []kind {
	server := regexp.QuoteMeta(string(s.options.ServerName))
	stranger := "qzx4vnobody7kk:" + string(s.options.ServerName)
	return []kind{
		{"users", "user", reg.Namespaces.Users, "@[^:]+:" + server, "@" + stranger},
		{"aliases", "alias", reg.Namespaces.Aliases, "#[^:]+:" + server, "#" + stranger},
		{"rooms", "room", reg.Namespaces.Rooms, "!.+", "!" + stranger},
	}
}

// checkSpaces looks at each expression by itself.
func (s *Service) checkSpaces(report *Report, reg *registration.Registration) {
	for _, k := range s.kinds(reg) {
		local, err := registration.NewNamespace(k.within, false)
		if err != nil {
			continue // only a server's name that is no name
		}
		for i, space := range k.spaces {
			if i == maxPairs {
				break
			}
			s.checkSpace(report, k, space, local)
		}
	}
	if spaces := reg.Namespaces; len(spaces.Users)+len(spaces.Aliases)+len(spaces.Rooms) == 0 {
		report.add(Note, 0, "There are no expressions: the service hears of rooms that its own user %s is in.", reg.Sender(s.options.ServerName))
	}
}

func (s *Service) checkSpace(report *Report, k kind, space, local registration.Namespace) {
	switch _, possible := registration.Overlap(space, space, local); {
	case space.Matches(k.stranger) && space.Exclusive && k.name != "rooms":
		report.add(Warning, 0, "%s matches every %s of this server, and is exclusive: nobody else could make one any more.", quoted(space), k.one)
	case space.Matches(k.stranger):
		report.add(Warning, 0, "%s matches every %s of this server: the service hears everything%s.", quoted(space), k.one,
			map[bool]string{true: ", and may act as any user"}[k.name == "users"])
	case possible == registration.No:
		report.add(Warning, 0, "%s matches no %s of this server, %s.", quoted(space), k.one, s.options.ServerName)
	case len(registration.Beginning(space)) < 2:
		report.add(Warning, 0, "%s is not anchored: it has no fixed beginning, such as @bridge_, and so matches names that have its words anywhere.", quoted(space))
	}
	if strings.HasSuffix(space.Regex, "$") || strings.HasPrefix(space.Regex, "^") {
		report.add(Note, 0, "%s needs neither ^ nor $: expressions are held against whole IDs.", quoted(space))
	}
	if name := string(s.options.ServerName); strings.Contains(name, ".") && strings.Contains(space.Regex, name) {
		report.add(Note, 0, "In %s the dots of the server's name stand for any character; write %s.", quoted(space), regexp.QuoteMeta(name))
	}
}

func quoted(space registration.Namespace) string {
	return fmt.Sprintf("The expression %.120q", space.Regex)
}

// overlaps looks for names that two services want.
func (s *Service) overlaps(report *Report, reg *registration.Registration, others []*registration.Registration) {
	pairs := 0
	for i, k := range s.kinds(reg) {
		local, err := registration.NewNamespace(k.within, false)
		if err != nil {
			continue
		}
		for _, space := range k.spaces {
			for _, other := range others {
				for _, theirs := range s.kinds(other)[i].spaces {
					if registration.Apart(space, theirs) {
						continue
					}
					if pairs++; pairs > maxPairs || len(report.Overlaps) == maxOverlaps {
						report.partial = true
						report.add(Note, 0, "There are more expressions than are compared; overlaps may be missing.")
						return
					}
					switch example, answer := registration.Overlap(space, theirs, local); answer {
					case registration.Yes:
						report.overlap(Overlap{k.name, space.Regex, other.ID, theirs.Regex, space.Exclusive && theirs.Exclusive, example})
					case registration.Unknown:
						report.partial = true
						report.add(Warning, 0, "%s and %.120q of %q cannot be compared: they are too large, or look at what is around a place. Whether both match the same %s is not known.",
							quoted(space), theirs.Regex, other.ID, k.name)
					}
				}
			}
		}
	}
}

func (r *Report) overlap(o Overlap) {
	r.Overlaps = append(r.Overlaps, o)
	if o.Both {
		r.add(Warning, 0, "Both this service and %q claim %s such as %s for themselves alone; either may take such a name first, and then the other cannot.", o.Other, o.Kind, o.Example)
	}
}
