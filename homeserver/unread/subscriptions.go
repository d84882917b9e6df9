package unread

import (
	"context"
	"net/http"

	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Users can follow threads (MSC4306): rules of theirs ask whether they do.

// Subscriptions are threads, by room, that a user follows or has stopped to.
type Subscriptions struct {
	Subscribed   map[matrix.RoomID]map[matrix.EventID]Subscribed   `json:"subscribed,omitempty"`
	Unsubscribed map[matrix.RoomID]map[matrix.EventID]Unsubscribed `json:"unsubscribed,omitempty"`
	// Rest is up to where there are more changes, before these; 0: there are none.
	Rest int64 `json:"-"`
}

// Subscribed is a thread that a user follows.
type Subscribed struct {
	Automatic bool  `json:"automatic"`
	BumpStamp int64 `json:"bump_stamp"`
}

// Unsubscribed is a thread that a user does not follow any more.
type Unsubscribed struct {
	BumpStamp int64 `json:"bump_stamp"`
}

// Subscription is how a user follows a thread. M_NOT_FOUND for one that the
// user does not follow, or may not see.
func (s *Service) Subscription(ctx context.Context, user matrix.UserID, room matrix.RoomID, root matrix.EventID) (*Subscribed, error) {
	e, nid, err := s.root(ctx, user, room, root)
	if err != nil {
		return nil, err
	}
	found, err := s.Threads.Find(ctx, s.Store.DB.Read(), nid, e.NID)
	if err != nil {
		return nil, err
	}
	if found == nil || !found.Subscribed {
		return nil, matrix.NotFound("You do not follow thread %s.", root)
	}
	return &Subscribed{found.Automatic, found.Position}, nil
}

// root is the first event of a thread, which may yet have no other, and the
// number of a user who may see it.
func (s *Service) root(ctx context.Context, user matrix.UserID, room matrix.RoomID, id matrix.EventID) (*storage.Event, int64, error) {
	e, _, err := s.Rooms.Event(ctx, room, id, user)
	if err != nil {
		return nil, 0, err
	}
	if relation := e.Relation(); relation != nil && relation.Type == "m.thread" {
		return nil, 0, matrix.NotFound("Event %s is in a thread, not the root of one.", id)
	}
	nid, err := s.Store.Users.NID(ctx, string(user))
	return e, nid, err
}

// Subscribe has a user follow a thread: because the user wants to or, with a
// cause, because the client thinks so. What the user has decided later than that
// event stays: then this is M_CONFLICTING_UNSUBSCRIPTION.
func (s *Service) Subscribe(ctx context.Context, user matrix.UserID, room matrix.RoomID, root, cause matrix.EventID) error {
	e, nid, err := s.root(ctx, user, room, root)
	if err != nil {
		return err
	}
	causedAt := int64(0)
	if cause != "" {
		if causedAt, err = s.cause(ctx, user, room, root, cause); err != nil {
			return err
		}
	}
	return s.Store.DB.Update(ctx, func(tx *database.Tx) error {
		was, err := s.Threads.Find(ctx, tx, nid, e.NID)
		if err != nil {
			return err
		}
		now := storage.Subscription{UserNID: nid, RootNID: e.NID, RoomNID: e.RoomNID, Subscribed: true, Automatic: cause != ""}
		if was != nil {
			now.Unsubscribed = was.Unsubscribed
			if was.Subscribed && (now.Automatic || !was.Automatic) {
				return nil
			}
			if !was.Subscribed && now.Automatic && causedAt <= was.Unsubscribed {
				return matrix.NewError(http.StatusConflict, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION",
					"You have left thread %s after event %s.", root, cause)
			}
		}
		return s.subscribe(ctx, tx, user, now)
	})
}

// cause is the position of the event because of which a client follows a thread.
func (s *Service) cause(ctx context.Context, user matrix.UserID, room matrix.RoomID, root, id matrix.EventID) (int64, error) {
	outside := matrix.NewError(http.StatusBadRequest, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD", "Event %s is not in thread %s.", id, root)
	e, _, err := s.Rooms.Event(ctx, room, id, user)
	if matrix.Code(err) == "M_NOT_FOUND" {
		return 0, outside
	}
	if err != nil {
		return 0, err
	}
	in, err := s.Rooms.Thread(ctx, e)
	if err != nil {
		return 0, err
	}
	if in != root {
		return 0, outside
	}
	return e.Position, nil
}

// Unsubscribe ends that a user follows a thread.
func (s *Service) Unsubscribe(ctx context.Context, user matrix.UserID, room matrix.RoomID, root matrix.EventID) error {
	e, nid, err := s.root(ctx, user, room, root)
	if err != nil {
		return err
	}
	return s.Store.DB.Update(ctx, func(tx *database.Tx) error {
		was, err := s.Threads.Find(ctx, tx, nid, e.NID)
		if was == nil || !was.Subscribed || err != nil {
			return err
		}
		was.Subscribed, was.Automatic = false, false
		return s.subscribe(ctx, tx, user, *was)
	})
}

func (s *Service) subscribe(ctx context.Context, tx *database.Tx, user matrix.UserID, now storage.Subscription) error {
	position, err := tx.Position(ctx)
	if err != nil {
		return err
	}
	now.Position = position
	if !now.Subscribed {
		now.Unsubscribed = position
	}
	tx.OnCommit(func() {
		s.SubscriptionsChanged(now.RootNID)
		s.Notifier.UserChanged(user, notifier.Threads, position)
	})
	return s.Threads.Set(ctx, tx, now)
}

// maxSubscriptions bounds the threads of an answer.
const maxSubscriptions = 500

// Subscriptions is what has changed in (after, upTo] of the threads that a user
// follows, in rooms that the user is in: up to limit threads, those that were
// changed last.
func (s *Service) Subscriptions(ctx context.Context, user matrix.UserID, after, upTo int64, limit int) (*Subscriptions, error) {
	limit = max(1, min(limit, maxSubscriptions))
	nids, err := s.Store.Users.Lookup(ctx, []string{string(user)})
	if err != nil {
		return nil, err
	}
	list, err := s.Threads.Changes(ctx, nids[string(user)], after, upTo, limit+1)
	if err != nil {
		return nil, err
	}
	found := new(Subscriptions)
	if len(list) > limit {
		found.Rest = list[limit].Position
		list = list[:limit]
	}
	for _, t := range list {
		if t.Subscribed {
			put(&found.Subscribed, t, Subscribed{t.Automatic, t.Position})
		} else {
			put(&found.Unsubscribed, t, Unsubscribed{t.Position})
		}
	}
	return found, nil
}

func put[T any](into *map[matrix.RoomID]map[matrix.EventID]T, t storage.Subscription, value T) {
	if *into == nil {
		*into = map[matrix.RoomID]map[matrix.EventID]T{}
	}
	if (*into)[t.Room] == nil {
		(*into)[t.Room] = map[matrix.EventID]T{}
	}
	(*into)[t.Room][t.Root] = value
}
