package push

import (
	"context"
	"fmt"

	"trestle/homeserver/accounts"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// bookRules bounds the rules of all users together that are kept compiled.
const bookRules = 400_000

// A Source has users' push rules and the position of their last change.
type Source interface {
	PushRulesAt(context.Context, matrix.UserID) (accounts.Ruleset, int64, error)
}

// A Book keeps users' rules compiled until they change. It is safe for
// concurrent use.
type Book struct {
	source Source
	pages  *lru.Cache[matrix.UserID, page]
}

type page struct {
	rules    *Rules
	position int64
}

// NewBook makes a book of what a source has.
func NewBook(source Source) *Book {
	return &Book{source, lru.New[matrix.UserID](bookRules, func(p page) int { return 1 + len(p.rules.rules) })}
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
	rules := Compile(set)
	b.pages.Put(user, page{rules, position})
	return rules, nil
}
