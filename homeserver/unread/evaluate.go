package unread

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/push"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

func isMissing(err error) bool { return errors.Is(err, database.ErrNoRows) }

// An evaluation holds the events of a part of the stream against rules.
type evaluation struct {
	*Service
	ctx  context.Context
	step *step
	now  int64 // Unix ms
}

// added reports whether the step has something to read for a user in a room.
func (v *evaluation) added(at place) bool {
	return slices.ContainsFunc(v.step.ops, func(o op) bool {
		return o.news != nil && o.user.nid == at.user && o.room == at.room
	})
}

// A place is a user in a room.
type place struct{ user, room int64 }

// event takes in one event.
func (v *evaluation) event(e *storage.Event) error {
	if e.Silent() {
		return nil
	}
	users, err := v.residentsAt(v.ctx, e)
	if err != nil {
		return err
	}
	if err := v.sender(e, users); err != nil {
		return err
	}
	if e.Type == "m.room.redaction" {
		if err := v.redaction(e); err != nil {
			return err
		}
	}
	if e.RedactedBy != 0 {
		return nil
	}
	return v.notify(e, users)
}

// sender takes in what an event says of how far users have read: whoever sends
// something has read what was before in that thread, and whoever comes into a
// room or goes has read all (Client-Server API § Marking notifications as read).
func (v *evaluation) sender(e *storage.Event, users []*resident) error {
	if e.Type == "m.room.member" && e.IsState() {
		user := matrix.UserID(*e.StateKey)
		if e.Membership() == "invite" || !v.Rooms.Local(user) || v.Ghost(user) {
			return nil
		}
		nid, err := v.Store.Users.NID(v.ctx, string(user))
		if err != nil {
			return err
		}
		invited, err := v.answers(e)
		if err != nil {
			return err
		}
		return v.mark(op{user: &resident{id: user, nid: nid}, room: e.RoomNID, thread: wholeRoom, position: e.Position, invited: invited})
	}
	for _, u := range users {
		if u.id == e.Sender {
			in, err := v.threadOf(v.ctx, e)
			if err != nil {
				return err
			}
			return v.mark(op{user: u, room: e.RoomNID, thread: in, position: e.Position})
		}
	}
	return nil
}

// answers reports whether a member event is the answer to an invite.
func (v *evaluation) answers(e *storage.Event) (bool, error) {
	if e.ReplacesNID == 0 {
		return false, nil
	}
	before, err := v.Store.Events.ByNID(v.ctx, e.ReplacesNID)
	return err == nil && before.Membership() == "invite", err
}

// mark takes in that a user has read something, if there was something to read.
func (v *evaluation) mark(o op) error {
	a, err := v.account(v.ctx, o.user.id)
	if err != nil {
		return err
	}
	v.mu.Lock()
	unread := len(a.rooms[o.room]) > 0
	v.mu.Unlock()
	if unread || o.invited || v.added(place{o.user.nid, o.room}) {
		v.step.ops = append(v.step.ops, o)
	}
	return nil
}

// receipt takes in how far a user of this server has read.
func (v *evaluation) receipt(r storage.Receipt) error {
	if !v.Rooms.Local(r.User) || v.Ghost(r.User) {
		return nil
	}
	nid, err := v.Store.Users.NID(v.ctx, string(r.User))
	if err != nil {
		return err
	}
	in := wholeRoom
	switch r.Thread {
	case "":
	case mainThread:
		in = thread{}
	default:
		if in, err = v.rootOf(v.ctx, r.RoomNID, matrix.EventID(r.Thread)); in.nid == 0 || err != nil {
			return err
		}
	}
	return v.mark(op{user: &resident{id: r.User, nid: nid}, room: r.RoomNID, thread: in, position: r.Ordering})
}

// mainThread is the thread of receipts for the main timeline.
const mainThread = "main"

// redaction takes in that an event is not what it was: it notifies nobody.
func (v *evaluation) redaction(e *storage.Event) error {
	target, err := v.Store.Events.ByID(v.ctx, e.Redacts)
	if isMissing(err) {
		return nil
	}
	if err == nil && target.RedactedBy == e.NID {
		v.step.redacted = append(v.step.redacted, target.Position)
		if target.Type == "m.room.member" {
			v.members.Delete(e.RoomNID) // a name has gone
		}
	}
	return err
}

// notify finds out whom an event notifies.
func (v *evaluation) notify(e *storage.Event, users []*resident) error {
	invited, err := v.invited(e)
	if err != nil {
		return err
	}
	if invited == nil && (len(users) == 0 || len(users) == 1 && users[0].id == e.Sender) {
		return nil
	}
	in, err := v.threadOf(v.ctx, e)
	if err != nil {
		return err
	}
	event, err := v.ready(e, in)
	if event == nil || err != nil {
		return err
	}
	h := &holding{evaluation: v, event: event, e: e, thread: in, news: &news{e.NID, v.now}}
	v.step.ops = slices.Grow(v.step.ops, len(users))
	for _, u := range users {
		if err := h.hold(u, false); err != nil {
			return err
		}
	}
	if invited != nil {
		return h.hold(invited, true)
	}
	return nil
}

// invited is the user of this server whom an event invites, or nil.
func (v *evaluation) invited(e *storage.Event) (*resident, error) {
	if e.Type != "m.room.member" || !e.IsState() || e.Membership() != "invite" {
		return nil, nil
	}
	user := matrix.UserID(*e.StateKey)
	if !v.Rooms.Local(user) || v.Ghost(user) {
		return nil, nil
	}
	nid, err := v.Store.Users.NID(v.ctx, string(user))
	return &resident{id: user, nid: nid, name: nameIn(e)}, err
}

// ready makes an event ready to be held against rules; nil if that cannot be.
func (v *evaluation) ready(e *storage.Event, in thread) (*push.Event, error) {
	event, err := push.NewEvent(e.AppendClient(nil, matrix.ClientOptions{}))
	if err != nil {
		v.Log.ErrorContext(v.ctx, "an event notifies nobody", "event", e.ID, "err", err)
		return nil, nil
	}
	room, err := v.Rooms.Head(v.ctx, e.RoomNID)
	if err != nil {
		return nil, err
	}
	event.Members = room.Summary.JoinedMembers
	event.MayNotify = func(key string) bool {
		levels, err := v.Rooms.PowerLevels(v.ctx, room.Info())
		return err == nil && levels.User(e.Sender) >= levels.Notification(key)
	}
	if in.nid != 0 {
		event.Subscribed = func(user matrix.UserID) bool {
			subscribers, err := v.subscribersOf(v.ctx, in.nid)
			if err != nil {
				v.Log.Warn("who follows a thread", "root", in.id, "err", err)
				return false
			}
			nids, err := v.Store.Users.Lookup(v.ctx, []string{string(user)})
			return err == nil && subscribers[nids[string(user)]]
		}
	}
	return event, nil
}

// A holding is one event that is held against the rules of users.
type holding struct {
	*evaluation
	event  *push.Event
	e      *storage.Event
	thread thread
	news   *news
	reader push.Reader
}

// hold holds the event against the rules of one user.
func (h *holding) hold(user *resident, invited bool) error {
	if user.id == h.e.Sender {
		return nil
	}
	wishes, err := h.wishesOf(h.ctx, user)
	if err != nil {
		return err
	}
	h.reader = push.Reader{User: user.id, Name: user.name}
	actions := wishes.rules.Match(h.event, &h.reader)
	whom := wishes.unwanted
	if !actions.Notify || whom.Ignores(h.e.Sender) || invited && whom.Invite(h.e.Sender) != accounts.Welcome {
		return nil
	}
	h.step.ops = append(h.step.ops, op{
		user: user, room: h.e.RoomNID, thread: h.thread, position: h.e.Position,
		news: h.news, highlight: actions.Highlight, actions: actions.List, uncounted: invited,
	})
	return nil
}

// maxTries is how often an event is tried that cannot be held against rules.
const maxTries = 5

// hopeless reports whether an event has to be left out so that others go on:
// its room was removed meanwhile, or it has failed often though the database works.
func (s *Service) hopeless(ctx context.Context, e *storage.Event, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if s.failing != e.NID {
		s.failing, s.failures = e.NID, 0
	}
	if s.failures++; s.failures < maxTries && !isMissing(err) || s.Store.Ping(ctx) != nil {
		return false
	}
	s.Log.WarnContext(ctx, "an event notifies nobody", "event", e.ID, "err", err)
	return true
}

// A page is the events of a part of the stream that was read.
type page struct {
	events []*storage.Event
	upTo   int64
}

const (
	// pageSize is how many events, or receipts, are read at once.
	pageSize = 500
	// pageBytes is how large events are together that are enough, however few.
	pageBytes = 4 << 20
)

// read brings in what comes after a position, unless that is here already.
func (s *Service) read(ctx context.Context, after, upTo int64) error {
	p := &s.page
	for len(p.events) > 0 && p.events[0].Position <= after {
		p.events = p.events[1:]
	}
	if len(p.events) > 0 {
		return nil
	}
	events, more, err := s.Store.Events.Page(ctx, after, upTo, pageSize, pageBytes)
	if err != nil {
		return err
	}
	// Rooms that are not in memory are brought there at once, of which after a start
	// there may be many. What goes wrong shows where it is needed.
	_ = s.Rooms.Warm(ctx, roomsOf(events))
	*p = page{events, upTo}
	if more {
		p.upTo = events[len(events)-1].Position
	}
	return nil
}

// roomsOf is the rooms in which events happened; nil of a single event.
func roomsOf(events []*storage.Event) (nids []int64) {
	if len(events) < 2 {
		return nil
	}
	for _, e := range events {
		nids = append(nids, e.RoomNID)
	}
	slices.Sort(nids)
	return slices.Compact(nids)
}

// evaluate makes a step of what comes after a position: up to another one or, if
// there is more than fits, less far.
func (s *Service) evaluate(ctx context.Context, after, upTo int64) (*step, error) {
	if err := s.read(ctx, after, upTo); err != nil {
		return nil, err
	}
	v := &evaluation{Service: s, ctx: ctx, step: &step{upTo: s.page.upTo}, now: s.Now().UnixMilli()}
	var receipts []storage.Receipt
	if s.Notifier.LastReceipt() > after {
		var err error
		if receipts, err = s.Receipts.Stream(ctx, after, v.step.upTo, pageSize); err != nil {
			return nil, err
		}
		if len(receipts) >= pageSize {
			v.step.upTo = receipts[len(receipts)-1].Position
		}
	}
	for _, e := range s.page.events {
		if e.Position > v.step.upTo {
			break
		}
		if err := v.event(e); err != nil {
			err = fmt.Errorf("event %s: %w", e.ID, err)
			if !s.hopeless(ctx, e, err) {
				return nil, err
			}
		}
		if len(v.step.ops) >= s.portion.Size() { // a step is stored as a whole
			v.step.upTo = e.Position
			break
		}
	}
	for _, r := range receipts {
		if r.Position > v.step.upTo {
			break
		}
		if err := v.receipt(r); err != nil {
			return nil, fmt.Errorf("receipt of %s: %w", r.User, err)
		}
	}
	return v.step, nil
}
