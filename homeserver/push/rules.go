package push

import (
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// A Reader is the user that rules decide for.
type Reader struct {
	User matrix.UserID
	// DisplayName is the reader's in the room. It is looked at only by rules
	// that report NeedsName.
	DisplayName string

	budget budget
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
	rules     []rule // most important first
	needsName bool
}

type rule struct {
	conditions []condition
	actions    Actions
}

// Compile makes a user's rules ready.
func Compile(set accounts.Ruleset) *Rules {
	compiled := new(Rules)
	for _, kind := range accounts.PushKinds {
		for _, r := range set[kind] {
			if r.Enabled {
				compiled.add(kind, r)
			}
		}
	}
	return compiled
}

// NeedsName reports whether a rule asks for the reader's display name.
func (r *Rules) NeedsName() bool { return r.needsName }

// Match is what the first rule that matches says, or nothing. Nobody is
// notified of their own events. It takes a bounded number of steps, whatever
// the rules are made of: behind these nothing matches.
func (r *Rules) Match(e *Event, reader *Reader) Actions {
	if e.Sender == reader.User {
		return Actions{}
	}
	reader.budget = maxSteps
	for i := range r.rules {
		if r.rules[i].matches(e, reader) {
			return r.rules[i].actions
		}
	}
	return Actions{}
}

func (r *rule) matches(e *Event, reader *Reader) bool {
	for _, holds := range r.conditions {
		if !reader.budget.spend(1) || !holds(e, reader) {
			return false
		}
	}
	return reader.budget >= 0
}

func (r *Rules) add(kind accounts.PushKind, source accounts.PushRule) {
	compiled := rule{actions: readActions(source.Actions)}
	switch kind {
	case "content":
		if source.Pattern == nil {
			return
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
			return
		}
		for _, raw := range list {
			c, needsName := compileCondition(raw)
			compiled.conditions = append(compiled.conditions, c)
			r.needsName = r.needsName || needsName
		}
	}
	if source.Default && accounts.LegacyMention(source.ID) {
		compiled.conditions = append([]condition{unsaid}, compiled.conditions...)
	}
	r.rules = append(r.rules, compiled)
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
