package push

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"trestle/homeserver/accounts"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	// bookRules bounds the rules of all users together that are kept compiled.
	bookRules = 400_000
	// bookCommon bounds the rules that users may have in common, and maxCommon
	// the bytes of such a rule.
	bookCommon = 20_000
	maxCommon  = 2_000
)

// A Source has users' push rules and the position of their last change.
type Source interface {
	PushRulesAt(context.Context, matrix.UserID) (accounts.Ruleset, int64, error)
}

// A Book keeps users' rules compiled until they change. It is safe for
// concurrent use.
type Book struct {
	source Source
	pages  *lru.Cache[matrix.UserID, page]
	// common is the rules of all users once, and lists those that have the same
	// ones, so that an event is held once against what they have in common, as
	// most of the predefined rules.
	common *lru.Cache[string, *rule]
	lists  *lru.Cache[string, *list]
	serial atomic.Uint64 // of the newest rule
}

type page struct {
	rules    *Rules
	position int64
}

// NewBook makes a book of what a source has.
func NewBook(source Source) *Book {
	return &Book{
		source: source,
		pages:  lru.New[matrix.UserID](bookRules, func(p page) int { return 1 + len(p.rules.rules) }),
		common: lru.New[string, *rule](bookCommon, nil),
		lists:  lru.New[string](bookRules, func(l *list) int { return 1 + len(l.rules) }),
	}
}

// Rules is a user's rules as they are now.
func (b *Book) Rules(ctx context.Context, user matrix.UserID) (*Rules, error) {
	set, position, err := b.source.PushRulesAt(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("push rules of %s: %w", user, err)
	}
	if p, ok := b.pages.Get(user); ok && p.position == position {
		return p.rules, nil
	}
	rules := newRules(user, b.list(user, set))
	b.pages.Put(user, page{rules, position})
	return rules, nil
}

// list is a user's rules in their order, once for all who have the same.
func (b *Book) list(user matrix.UserID, set accounts.Ruleset) *list {
	l := new(list)
	var key []byte
	for kind, source := range enabled(set) {
		if r := b.rule(user, kind, source); r != nil {
			l.rules = append(l.rules, r)
			key = binary.AppendUvarint(key, r.serial)
		}
	}
	if known, ok := b.lists.Get(string(key)); ok {
		return known
	}
	b.lists.Put(string(key), l)
	return l
}

// rule is compileRule, once for all who have the same.
func (b *Book) rule(user matrix.UserID, kind accounts.PushKind, source accounts.PushRule) *rule {
	pattern := ""
	switch {
	case ownName(user, source):
		pattern = "reader"
	case source.Pattern != nil:
		pattern = "=" + *source.Pattern
	}
	// IDs matter where they are what has to match, and with predefined rules.
	id := source.ID
	if !source.Default && kind != "room" && kind != "sender" {
		id = ""
	}
	key := strings.Join([]string{string(kind), id, strconv.FormatBool(source.Default), pattern, conditionsOf(user, source), string(source.Actions)}, "\x00")
	if len(key) <= maxCommon {
		if r, ok := b.common.Get(key); ok {
			r.common.Store(true)
			return r
		}
	}
	r := compileRule(user, kind, source)
	if r == nil {
		return nil
	}
	r.serial = b.serial.Add(1)
	if len(key) <= maxCommon {
		b.common.Put(key, r)
	}
	return r
}

// conditionsOf is a rule's conditions, with the same in place of each user's ID
// where that stands for the reader's.
func conditionsOf(user matrix.UserID, source accounts.PushRule) string {
	conditions := string(source.Conditions)
	if self, err := json.Marshal(mentioned(user, source)); err == nil && source.Default {
		conditions = strings.ReplaceAll(conditions, string(self), "\x01")
	}
	return conditions
}
