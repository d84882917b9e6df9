package accounts

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"trestle/internal/matrix"
)

// maxPushRules bounds what one user can make every event be held against.
const maxPushRules = 1000

// ownRules is what a user has changed about the predefined rules: only this is
// stored, so that a new version of the server brings its new rules to all.
type ownRules struct {
	Rules   map[PushKind][]PushRule `json:"rules,omitempty"`
	Changes map[string]ruleChange   `json:"changes,omitempty"` // of predefined rules, by "kind/id"

	legacy bool // rules for mentions in the text are among the predefined ones
}

type ruleChange struct {
	Enabled *bool           `json:"enabled,omitempty"`
	Actions json.RawMessage `json:"actions,omitempty"`
}

func changeKey(kind PushKind, id string) string { return string(kind) + "/" + id }

// merged is the whole ruleset: the master rule, the user's own rules, the
// other predefined ones.
func (o *ownRules) merged(user matrix.UserID) Ruleset {
	all := predefined(user, o.legacy)
	for _, kind := range PushKinds {
		server := all[kind]
		for i := range server {
			change := o.Changes[changeKey(kind, server[i].ID)]
			if change.Enabled != nil {
				server[i].Enabled = *change.Enabled
			}
			if change.Actions != nil {
				server[i].Actions = change.Actions
			}
		}
		above := 0
		if len(server) > 0 && server[0].ID == masterRule {
			above = 1
		}
		all[kind] = slices.Insert(server, above, o.Rules[kind]...)
	}
	return all
}

// A PushRuleSpec is a rule that a user wants to have.
type PushRuleSpec struct {
	Kind       PushKind
	ID         string
	Conditions json.RawMessage // a JSON array, or nothing
	Pattern    *string
	Actions    json.RawMessage // a JSON array
	Before     string          // the user's rule to stand right before, or nothing
	After      string
}

// check is the errors of PUT /pushrules/global/{kind}/{ruleId}.
func (p *PushRuleSpec) check() error {
	switch {
	case p.Kind == postcontent:
		return matrix.InvalidParam("Nobody can have %s rules but the server.", postcontent)
	case strings.HasPrefix(p.ID, "."):
		return matrix.InvalidParam("Rule IDs with a dot in front are the server's own.")
	case strings.ContainsAny(p.ID, `/\`):
		return matrix.InvalidParam("Rule IDs have no slashes or backslashes.")
	case len(p.ID) > matrix.MaxIDLength:
		return matrix.InvalidParam("Rule IDs have at most %d bytes.", matrix.MaxIDLength)
	case strings.HasPrefix(p.Before, ".") || strings.HasPrefix(p.After, "."):
		return matrix.InvalidParam("A rule cannot be placed relative to one of the server's own.")
	case p.Kind == "content" && p.Pattern == nil:
		return matrix.MissingParam("Content rules need a pattern.")
	}
	if p.Kind != "content" {
		p.Pattern = nil
	}
	if !p.Kind.hasConditions() {
		p.Conditions = nil
	} else if err := p.checkConditions(); err != nil {
		return err
	}
	return checkActions(p.Actions)
}

func (p *PushRuleSpec) checkConditions() error {
	if len(p.Conditions) == 0 || string(p.Conditions) == "null" {
		p.Conditions = json.RawMessage("[]")
	}
	var conditions []struct {
		Kind *string `json:"kind"`
	}
	if err := json.Unmarshal(p.Conditions, &conditions); err != nil {
		return matrix.BadJSON("conditions must be an array of objects.")
	}
	for _, c := range conditions {
		if c.Kind == nil {
			return matrix.BadJSON("Every condition needs a kind.")
		}
	}
	return nil
}

// checkActions accepts the actions of the specification, the historical ones
// included: those stay as the client sent them, and do nothing.
func checkActions(actions json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(actions, &list); err != nil || list == nil {
		return matrix.BadJSON("actions must be an array.")
	}
	for _, action := range list {
		var name string
		if json.Unmarshal(action, &name) == nil {
			if name != "notify" && name != "dont_notify" && name != "coalesce" {
				return matrix.BadJSON("There is no push action %.40q.", name)
			}
			continue
		}
		var tweak struct {
			Name *string `json:"set_tweak"`
		}
		if err := json.Unmarshal(action, &tweak); err != nil || tweak.Name == nil {
			return matrix.BadJSON("A push action must be a string or an object with set_tweak.")
		}
	}
	return nil
}

// put adds a rule, or changes the one of its ID: that keeps its place, unless
// a new one is asked for, and stays enabled or disabled.
func (o *ownRules) put(p PushRuleSpec) error {
	if err := p.check(); err != nil {
		return err
	}
	rule := PushRule{ID: p.ID, Enabled: true, Conditions: p.Conditions, Pattern: p.Pattern, Actions: p.Actions}
	rules, at := slices.Clone(o.Rules[p.Kind]), 0
	if i := indexRule(rules, p.ID); i >= 0 {
		rule.Enabled, at = rules[i].Enabled, i
		rules = slices.Delete(rules, i, i+1)
	} else if o.count() >= maxPushRules {
		return matrix.NewError(http.StatusBadRequest, "M_TOO_LARGE", "Nobody can have more than %d push rules.", maxPushRules)
	}
	if next := p.Before; next != "" || p.After != "" {
		if next == "" {
			next = p.After
		}
		if at = indexRule(rules, next); at < 0 {
			return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "There is no rule %.80q of this kind to place it at.", next)
		}
		if p.Before == "" {
			at++
		}
	}
	if o.Rules == nil {
		o.Rules = map[PushKind][]PushRule{}
	}
	o.Rules[p.Kind] = slices.Insert(rules, at, rule)
	return nil
}

func (o *ownRules) count() int {
	n := 0
	for _, rules := range o.Rules {
		n += len(rules)
	}
	return n
}

func noSuchRule() error { return matrix.NotFound("There is no such push rule.") }

func (o *ownRules) remove(kind PushKind, id string) error {
	i := indexRule(o.Rules[kind], id)
	switch {
	case i >= 0:
		o.Rules[kind] = slices.Delete(o.Rules[kind], i, i+1)
		return nil
	case o.isPredefined(kind, id):
		return matrix.InvalidParam("The server's own rules can be disabled, not deleted.")
	}
	return noSuchRule()
}

// change enables, disables or gives new actions to a rule, the server's own
// included.
func (o *ownRules) change(kind PushKind, id string, change ruleChange) error {
	if i := indexRule(o.Rules[kind], id); i >= 0 {
		if change.Enabled != nil {
			o.Rules[kind][i].Enabled = *change.Enabled
		}
		if change.Actions != nil {
			o.Rules[kind][i].Actions = change.Actions
		}
		return nil
	}
	if !o.isPredefined(kind, id) {
		return noSuchRule()
	}
	if o.Changes == nil {
		o.Changes = map[string]ruleChange{}
	}
	held := o.Changes[changeKey(kind, id)]
	if change.Enabled != nil {
		held.Enabled = change.Enabled
	}
	if change.Actions != nil {
		held.Actions = change.Actions
	}
	o.Changes[changeKey(kind, id)] = held
	return nil
}

func (o *ownRules) isPredefined(kind PushKind, id string) bool {
	return (o.legacy || !LegacyMention(id)) && slices.ContainsFunc(predefinedRules, func(p predefinedRule) bool { return p.kind == kind && p.id == id })
}
