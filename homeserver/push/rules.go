package push

import (
	"encoding/json"
	"sync/atomic"
	"unicode/utf8"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// A Reader is the user that rules decide for.
type Reader struct {
	User matrix.UserID
	Name *Name // the reader's in the room; nil for none

	budget budget
}

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
	rules []*rule // most important first
}

type rule struct {
	conditions []condition
	actions    Actions
	// personal rules look at the reader, so that they decide for each one anew.
	personal bool
	// common is set once several users have the rule.
	common atomic.Bool
}

// Compile makes a user's rules ready.
func Compile(set accounts.Ruleset) *Rules { return compile(set, compileRule) }

func compile(set accounts.Ruleset, one func(accounts.PushKind, accounts.PushRule) *rule) *Rules {
	compiled := new(Rules)
	for _, kind := range accounts.PushKinds {
		for _, source := range set[kind] {
			if !source.Enabled {
				continue
			}
			if r := one(kind, source); r != nil {
				compiled.rules = append(compiled.rules, r)
			}
		}
	}
	return compiled
}

// Match is what the first rule that matches says, or nothing. Nobody is
// notified of their own events. It takes a bounded number of steps, whatever
// the rules are made of: behind these nothing matches.
func (r *Rules) Match(e *Event, reader *Reader) Actions {
	if e.Sender == reader.User {
		return Actions{}
	}
	reader.budget = maxSteps
	for _, rule := range r.rules {
		if rule.decide(e, reader) {
			return rule.actions
		}
	}
	return Actions{}
}

// decide is matches, once for all readers where they have the same rule.
func (r *rule) decide(e *Event, reader *Reader) bool {
	if r.personal || !r.common.Load() {
		return r.matches(e, reader)
	}
	if decided, ok := e.decided[r]; ok {
		return reader.budget.spend(1) && decided
	}
	decided := r.matches(e, reader)
	if reader.budget >= 0 { // else nothing matches for this reader only
		e.decided[r] = decided
	}
	return decided
}

func (r *rule) matches(e *Event, reader *Reader) bool {
	for _, holds := range r.conditions {
		if !reader.budget.spend(1) || !holds(e, reader) {
			return false
		}
	}
	return reader.budget >= 0
}

// compileRule makes a rule ready; nil if it can never match.
func compileRule(kind accounts.PushKind, source accounts.PushRule) *rule {
	compiled := &rule{actions: readActions(source.Actions)}
	switch kind {
	case "content":
		if source.Pattern == nil {
			return nil
		}
		compiled.conditions = []condition{eventMatch("content.body", *source.Pattern)}
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
			c, personal := compileCondition(raw)
			compiled.conditions = append(compiled.conditions, c)
			compiled.personal = compiled.personal || personal
		}
	}
	if source.Default && accounts.LegacyMention(source.ID) {
		compiled.conditions = append([]condition{unsaid}, compiled.conditions...)
	}
	return compiled
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
