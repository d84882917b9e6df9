package sliding

import (
	"context"

	"trestle/homeserver/notifier"
	"trestle/homeserver/syncer"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
)

// Threads knows which threads users follow.
type Threads interface {
	// Subscriptions is up to limit changes in (after, upTo], the last ones first.
	Subscriptions(ctx context.Context, user matrix.UserID, after, upTo int64, limit int) (*unread.Subscriptions, error)
}

// A threadExtension asks for threads that the user follows (MSC4308).
type threadExtension struct {
	Enabled bool   `json:"enabled"`
	Limit   *int64 `json:"limit"`
}

// usualThreads is how many threads an answer has where the client does not say.
const usualThreads = 100

func (x *threadExtension) check() error {
	if x.Limit != nil && *x.Limit < 1 {
		return matrix.InvalidParam("limit is a number of threads above 0.")
	}
	return nil
}

// ThreadSubscriptions is what has changed of the threads that the user follows.
type ThreadSubscriptions struct {
	*unread.Subscriptions
	PrevBatch string `json:"prev_batch,omitempty"`
}

// threads puts in what has changed of the threads that the user follows.
func (a *answer) threads() error {
	x, base := &a.req.extensions.Threads, &a.conn.base
	since := int64(0)
	if a.next.extras["threads"] = "on"; base.extras["threads"] == "on" {
		since = base.token.Position
	}
	if a.followed == nil || since > 0 && !a.snap.Changed(notifier.Threads, since) {
		return nil
	}
	limit := int64(usualThreads)
	if x.Limit != nil {
		limit = min(*x.Limit, 1<<20)
	}
	found, err := a.followed.Subscriptions(a.ctx, a.req.User, since, a.snap.Position, int(limit))
	if err != nil || len(found.Subscribed)+len(found.Unsubscribed) == 0 {
		return err
	}
	a.news = true
	a.resp.Extensions.Threads = &ThreadSubscriptions{Subscriptions: found}
	if found.Rest != 0 {
		a.resp.Extensions.Threads.PrevBatch = syncer.Token{Position: found.Rest}.String()
	}
	return nil
}
