package accounts

import (
	"context"
	"encoding/json"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// PushRules is all push rules of a user. The result is shared and must not be
// changed.
func (s *Service) PushRules(ctx context.Context, user matrix.UserID) (Ruleset, error) {
	rules, err := s.pushRules(ctx, user)
	if err != nil {
		return nil, err
	}
	return rules.set, nil
}

// PushRulesAt is all push rules of a user, and the position of their last
// change, 0 if there was none: whoever keeps something that is made of them
// tells by it whether that is still right.
func (s *Service) PushRulesAt(ctx context.Context, user matrix.UserID) (Ruleset, int64, error) {
	rules, err := s.pushRules(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	return rules.set, rules.position, nil
}

// PushRule is one push rule of a user, or M_NOT_FOUND.
func (s *Service) PushRule(ctx context.Context, user matrix.UserID, kind PushKind, id string) (*PushRule, error) {
	if err := checkKind(kind); err != nil {
		return nil, err
	}
	set, err := s.PushRules(ctx, user)
	if err != nil {
		return nil, err
	}
	rule := set.Rule(kind, id)
	if rule == nil {
		return nil, noSuchRule()
	}
	return rule, nil
}

// PutPushRule adds or changes a rule of the user's own.
func (s *Service) PutPushRule(ctx context.Context, user matrix.UserID, p PushRuleSpec) error {
	return s.changePushRules(ctx, user, p.Kind, func(own *ownRules) error { return own.put(p) })
}

// DeletePushRule deletes a rule of the user's own.
func (s *Service) DeletePushRule(ctx context.Context, user matrix.UserID, kind PushKind, id string) error {
	return s.changePushRules(ctx, user, kind, func(own *ownRules) error { return own.remove(kind, id) })
}

// EnablePushRule enables or disables any rule.
func (s *Service) EnablePushRule(ctx context.Context, user matrix.UserID, kind PushKind, id string, enabled bool) error {
	return s.changePushRules(ctx, user, kind, func(own *ownRules) error {
		return own.change(kind, id, ruleChange{Enabled: &enabled})
	})
}

// SetPushRuleActions gives any rule new actions.
func (s *Service) SetPushRuleActions(ctx context.Context, user matrix.UserID, kind PushKind, id string, actions json.RawMessage) error {
	return s.changePushRules(ctx, user, kind, func(own *ownRules) error {
		if err := checkActions(actions); err != nil {
			return err
		}
		return own.change(kind, id, ruleChange{Actions: actions})
	})
}

// pushRules is a user's rules, from memory or the database.
func (s *Service) pushRules(ctx context.Context, user matrix.UserID) (*userRules, error) {
	rules, epoch, ok := s.rules.get(user)
	if ok {
		return rules, nil
	}
	own, position, err := s.readOwnRules(ctx, s.options.DB.Read(), user)
	if err != nil {
		return nil, err
	}
	if rules, err = wholeRules(user, own, position); err == nil {
		s.rules.put(user, user, rules, epoch)
	}
	return rules, err
}

func wholeRules(user matrix.UserID, own *ownRules, position int64) (*userRules, error) {
	rules := &userRules{set: own.merged(user), position: position}
	var err error
	rules.content, err = json.Marshal(map[string]Ruleset{"global": rules.set})
	return rules, err
}

// rulesOf is the content of m.push_rules for what is stored of a user's rules.
func (s *Service) rulesOf(user matrix.UserID, stored json.RawMessage, position int64) (json.RawMessage, error) {
	if rules, _, ok := s.rules.get(user); ok && rules.position == position {
		return rules.content, nil
	}
	own := &ownRules{legacy: s.options.LegacyMentions}
	if err := json.Unmarshal(stored, own); err != nil {
		return nil, err
	}
	rules, err := wholeRules(user, own, position)
	if err != nil {
		return nil, err
	}
	return rules.content, nil
}

func (s *Service) readOwnRules(ctx context.Context, q database.Querier, user matrix.UserID) (*ownRules, int64, error) {
	stored, position, err := s.options.Store.Rules.Find(ctx, q, user)
	if err != nil {
		return nil, 0, err
	}
	own := &ownRules{legacy: s.options.LegacyMentions}
	if stored != nil {
		err = json.Unmarshal(stored, own)
	}
	return own, position, err
}

func (s *Service) changePushRules(ctx context.Context, user matrix.UserID, kind PushKind, change func(*ownRules) error) error {
	if err := checkKind(kind); err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		own, _, err := s.readOwnRules(ctx, tx, user)
		if err != nil {
			return err
		}
		if err := change(own); err != nil {
			return err
		}
		return s.writeOwnRules(ctx, tx, user, own)
	})
}

func (s *Service) writeOwnRules(ctx context.Context, tx *database.Tx, user matrix.UserID, own *ownRules) error {
	stored, err := json.Marshal(own)
	if err != nil {
		return err
	}
	position, err := tx.Position(ctx)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { s.rules.forget(user) })
	s.changed(tx, user, position)
	return s.options.Store.Rules.Set(ctx, tx, user, stored, position)
}

func checkKind(kind PushKind) error {
	if !slices.Contains(PushKinds, kind) {
		return matrix.InvalidParam("There are no push rules of kind %.40q.", string(kind))
	}
	return nil
}
