package push

import (
	"encoding/json"
	"iter"
	"sync/atomic"
	"unicode/utf8"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// A Reader is the user that rules decide for.
type Reader struct {
	User matrix.UserID
	Name *Name // the reader's in the room; nil for none

	self   *self // of the user; the rules bring it
	budget budget
}

// self is a user's ID and its localpart, ready to be looked for.
type self struct{ id, local glob }

// A Name is a display name, ready to be looked for.
type Name struct{ glob glob }

// NewName makes a display name ready; nil if there is nothing to look for.
func NewName(displayName string) *Name {
	if displayName == "" || len(displayName) > maxPattern*utf8.UTFMax {
		return nil
	}
	folded := newText(displayName).folded
	if len(folded) > maxPattern {
		return nil
	}
	return &Name{glob{parts: [][]rune{folded}}}
}

// Actions are what rules have decided about an event.
type Actions struct {
	Notify    bool
	Highlight bool
	Sound     string
	// List is the rule's actions as a client sees them in GET /notifications;
	// nil where no rule matched.
	List json.RawMessage
}

// Rules are a user's enabled rules, ready to be held against events. They may
// be used by many goroutines.
type Rules struct {
	self
	*list
}

// A list is rules in the order of their importance. All users who have the same
// ones share it.
type list struct{ rules []*rule }

type rule struct {
	conditions []condition
	// personal conditions look at the reader, so that they are held anew against
	// each of them, where the others hold.
	personal []condition
	actions  Actions
	serial   uint64 // of all rules in a book
	// common is set once several users have the rule.
	common atomic.Bool
}

// Compile makes a user's rules ready.
func Compile(user matrix.UserID, set accounts.Ruleset) *Rules {
	compiled := newRules(user, new(list))
	for kind, source := range enabled(set) {
		if r := compileRule(user, kind, source); r != nil {
			compiled.rules = append(compiled.rules, r)
		}
	}
	return compiled
}

func newRules(user matrix.UserID, l *list) *Rules {
	return &Rules{self{compileGlob(string(user)), compileGlob(user.Localpart())}, l}
}

// enabled goes through the rules that are in force, the most important first.
func enabled(set accounts.Ruleset) iter.Seq2[accounts.PushKind, accounts.PushRule] {
	return func(yield func(accounts.PushKind, accounts.PushRule) bool) {
		for _, kind := range accounts.PushKinds {
			for _, source := range set[kind] {
				if source.Enabled && !yield(kind, source) {
					return
				}
			}
		}
	}
}

// Match is what the first rule that matches says, or nothing. Nobody is
// notified of their own events. It takes a bounded number of steps, whatever
// the rules are made of: behind these nothing matches.
func (r *Rules) Match(e *Event, reader *Reader) Actions {
	if e.Sender == reader.User {
		return Actions{}
	}
	p := e.plan(r.list)
	reader.self, reader.budget = &r.self, maxSteps
	for _, rule := range p.personal {
		if all(rule.personal, e, reader) {
			return rule.actions
		}
	}
	return p.others
}

// A plan is what a list of rules comes to for one event.
type plan struct {
	personal []*rule // of which all hold but what looks at the reader
	others   Actions // if none of these matches
}

// plan decides once, for all who have the same rules, what does not look at the
// reader.
func (e *Event) plan(l *list) *plan {
	if e.latest == l {
		return e.plans[l]
	}
	p := e.plans[l]
	if p == nil {
		p = new(plan)
		anybody := &Reader{budget: maxSteps}
		for _, rule := range l.rules {
			if !rule.decide(e, anybody) {
				continue
			}
			if len(rule.personal) == 0 {
				p.others = rule.actions
				break
			}
			p.personal = append(p.personal, rule)
		}
		e.plans[l] = p
	}
	e.latest = l
	return p
}

// decide reports whether a rule matches as far as it does not look at the reader,
// which lists that have the rule in common find out once.
func (r *rule) decide(e *Event, anybody *Reader) bool {
	if !r.common.Load() {
		return all(r.conditions, e, anybody)
	}
	if decided, ok := e.decided[r]; ok {
		return anybody.budget.spend(1) && decided
	}
	decided := all(r.conditions, e, anybody)
	if anybody.budget >= 0 { // else nothing matches for this list only
		e.decided[r] = decided
	}
	return decided
}

// all reports whether all conditions hold, before the budget is spent.
func all(conditions []condition, e *Event, reader *Reader) bool {
	for _, holds := range conditions {
		if !reader.budget.spend(1) || !holds(e, reader) {
			return false
		}
	}
	return reader.budget >= 0
}

// compileRule makes a user's rule ready; nil if it can never match.
func compileRule(user matrix.UserID, kind accounts.PushKind, source accounts.PushRule) *rule {
	compiled := &rule{actions: readActions(source.Actions)}
	switch kind {
	case "content":
		switch {
		case source.Pattern == nil:
			return nil
		case ownName(user, source):
			compiled.conditions = []condition{hasBody}
			compiled.personal = []condition{containsLocalpart}
		default:
			compiled.conditions = []condition{eventMatch("content.body", *source.Pattern)}
		}
	case "room":
		id := matrix.RoomID(source.ID)
		compiled.conditions = []condition{func(e *Event, _ *Reader) bool { return e.RoomID == id }}
	case "sender":
		id := matrix.UserID(source.ID)
		compiled.conditions = []condition{func(e *Event, _ *Reader) bool { return e.Sender == id }}
	default:
		var list []json.RawMessage
		if len(source.Conditions) > 0 && json.Unmarshal(source.Conditions, &list) != nil {
			return nil
		}
		for _, raw := range list {
			anybody, reader := compileCondition(mentioned(user, source), raw)
			if anybody != nil {
				compiled.conditions = append(compiled.conditions, anybody)
			}
			if reader != nil {
				compiled.personal = append(compiled.personal, reader)
			}
		}
	}
	if source.Default && accounts.LegacyMention(source.ID) {
		compiled.conditions = append([]condition{unsaid}, compiled.conditions...)
	}
	return compiled
}

// mentioned is the user whose ID in a rule's conditions stands for the reader's: it
// is put into predefined rules for each user, and meant as it is in others.
func mentioned(user matrix.UserID, source accounts.PushRule) matrix.UserID {
	if source.Default {
		return user
	}
	return ""
}

// ownName reports whether a rule is the predefined one about the user's localpart.
func ownName(user matrix.UserID, source accounts.PushRule) bool {
	return source.Default && source.Pattern != nil && *source.Pattern == user.Localpart()
}

// readActions leaves out historical actions, which do nothing, and tweaks that
// only clients and gateways know: those stay in the list.
func readActions(raw json.RawMessage) Actions {
	actions := Actions{List: raw}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return actions
	}
	for _, one := range list {
		var name string
		if json.Unmarshal(one, &name) == nil {
			actions.Notify = actions.Notify || name == "notify"
			continue
		}
		var tweak struct {
			Name  string          `json:"set_tweak"`
			Value json.RawMessage `json:"value"`
		}
		if json.Unmarshal(one, &tweak) != nil {
			continue
		}
		switch tweak.Name {
		case "sound":
			_ = json.Unmarshal(tweak.Value, &actions.Sound) // a sound that is no string is none
		case "highlight":
			actions.Highlight = true
			if tweak.Value != nil {
				_ = json.Unmarshal(tweak.Value, &actions.Highlight) // what is no boolean stands for true
			}
		}
	}
	// Tweaks say how to notify, and mean nothing without.
	actions.Highlight = actions.Highlight && actions.Notify
	return actions
}
