package syncer_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// elsewhere is a room that another server has had for long, and this one has come into.
type elsewhere struct {
	*fixture
	there  *fixture // the other server
	room   matrix.RoomID
	events []*matrix.Event // all, the oldest first
	info   *storage.RoomInfo

	fetches int
	batch   int  // how many events come at once
	away    bool // the other server does not answer
	slow    bool // or not in time
}

// Fetch implements syncer.Older.
func (o *elsewhere) Fetch(ctx context.Context, info *storage.RoomInfo, _ int) (got, more bool, err error) {
	if more, err := o.rooms.Incomplete(ctx, info); !more || err != nil {
		return false, false, err
	}
	o.fetches++
	if o.away || o.slow {
		return false, o.slow, nil
	}
	known, err := o.store.Events.ByIDs(ctx, o.ids())
	if err != nil {
		return false, false, err
	}
	first := slices.IndexFunc(o.events, func(e *matrix.Event) bool { return known[e.ID] != nil })
	from := max(0, first-o.batch)
	var arrivals []rooms.Arrival
	for i, e := range o.events[from:first] {
		a := rooms.Arrival{Event: e}
		if i == 0 && from > 0 {
			a.State = o.stateBefore(from)
		}
		arrivals = append(arrivals, a)
	}
	if _, err := o.rooms.Backfill(ctx, o.room, arrivals); err != nil {
		return false, false, err
	}
	more, err = o.rooms.Incomplete(ctx, info)
	return true, more, err
}

// Reach implements syncer.Older.
func (o *elsewhere) Reach(ctx context.Context, info *storage.RoomInfo, ts int64, _ bool, within int64) (got bool, err error) {
	for more := within > 0; more && err == nil; {
		_, more, err = o.Fetch(ctx, info, 0)
	}
	return true, err
}

func (o *elsewhere) ids() []string {
	ids := make([]string, len(o.events))
	for i, e := range o.events {
		ids[i] = string(e.ID)
	}
	return ids
}

func (o *elsewhere) stateBefore(i int) []matrix.EventID {
	state := map[rooms.StateKey]matrix.EventID{}
	for _, e := range o.events[:i] {
		if e.IsState() {
			state[rooms.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
		}
	}
	var list []matrix.EventID
	for _, id := range state {
		list = append(list, id)
	}
	return list
}

// comeLate has alice's server come into a room of so many events in which dave, of another one, has been.
func comeLate(t *testing.T, url string, said int) *elsewhere {
	t.Helper()
	there := open(t, testkit.SQLite(t))
	room := there.create(rooms.CreateRequest{Creator: dave, Preset: "public_chat"})
	for range said {
		there.say(room, dave, "once")
	}
	there.set(room, dave, "m.room.topic", "", `{"topic":"late"}`)
	there.join(room, alice)
	info, err := there.rooms.Info(t.Context(), room)
	there.must(err)
	all, err := there.store.Events.Forward(t.Context(), info.NID, math.MinInt64, math.MaxInt64, 1000)
	there.must(err)
	o := &elsewhere{fixture: open(t, url), there: there, room: room, batch: 7}
	var state []*matrix.Event
	for _, e := range all {
		o.events = append(o.events, e.Event)
	}
	last := len(o.events) - 1
	for _, id := range o.stateBefore(last) {
		state = append(state, o.events[slices.IndexFunc(o.events, func(e *matrix.Event) bool { return e.ID == id })])
	}
	o.must(o.rooms.Adopt(t.Context(), rooms.Adoption{Room: room, Version: info.Version, Join: o.events[last], State: state}))
	o.info, err = o.rooms.Info(t.Context(), room)
	o.must(err)
	o.sync.Older = o
	return o
}

func (o *elsewhere) page(from string, limit int) *syncer.Page {
	o.t.Helper()
	page, err := o.sync.Messages(o.t.Context(), syncer.PageRequest{
		User: alice, Room: o.room, From: from, Backward: true, Limit: limit, Filter: new(accounts.RoomEventFilter),
	})
	o.must(err)
	return page
}

// TestPagesGoOnBeforeThisServerCame looks back from one page to the next, to where the room began.
func TestPagesGoOnBeforeThisServerCame(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, limit := range []int{1, 5, 100} {
			o := comeLate(t, url, 30)
			var seen []matrix.EventID
			for from := ""; ; {
				page := o.page(from, limit)
				for _, e := range o.read(page.Chunk) {
					seen = append(seen, e.ID)
				}
				if page.End == "" {
					if len(page.Chunk) > 0 {
						t.Error("a page with events has no end")
					}
					break
				}
				if len(page.Chunk) != limit && len(seen) < len(o.events) {
					t.Errorf("a page has %d events, not %d", len(page.Chunk), limit)
				}
				from = page.End
			}
			slices.Reverse(seen)
			want := make([]matrix.EventID, len(o.events))
			for i, e := range o.events {
				want[i] = e.ID
			}
			if !slices.Equal(seen, want) {
				t.Errorf("by pages of %d events %d are seen, want %d", limit, len(seen), len(want))
			}
			fetches := o.fetches
			if o.page("", 100); o.fetches != fetches {
				t.Error("what is known is asked for again")
			}
			o.quiet()
		}
	})
}

// quiet holds that nobody is told of the past as if it were new.
func (o *elsewhere) quiet() {
	o.t.Helper()
	res := o.syncNow(syncer.Request{User: alice, Filter: new(accounts.Filter)})
	joined := res.Rooms.Join[o.room]
	if timeline := o.read(joined.Timeline.Events); len(timeline) != 1 || timeline[0].ID != o.events[len(o.events)-1].ID {
		o.t.Errorf("the first sync has %+v", timeline)
	}
	page := o.page(joined.Timeline.PrevBatch, 3)
	if older := o.read(page.Chunk); len(older) != 3 || older[0].ID != o.events[len(o.events)-2].ID {
		o.t.Errorf("before that is %+v", older)
	}
}

func TestPagesWhileNobodyTellsWhatIsOlder(t *testing.T) {
	o := comeLate(t, testkit.SQLite(t), 10)
	o.away = true
	page := o.page("", 5)
	if len(page.Chunk) != 1 || page.End == "" {
		t.Errorf("the first page is %+v", page)
	}
	if last := o.page(page.End, 5); len(last.Chunk) != 0 || last.End != "" {
		t.Errorf("with nobody to ask the next is %+v", last)
	}
	o.away, o.slow = false, true
	next := o.page(page.End, 5)
	if len(next.Chunk) != 0 || next.End == "" {
		t.Fatalf("while others are waited for it is %+v", next)
	}
	o.slow = false
	if later := o.read(o.page(next.End, 5).Chunk); len(later) != 5 || later[0].ID != o.events[len(o.events)-2].ID {
		t.Errorf("after that it is %+v", later)
	}
	// Forwards, and down to a place that is known, nothing older is wanted.
	fetches := o.fetches
	_, err := o.sync.Messages(t.Context(), syncer.PageRequest{User: alice, Room: o.room, Limit: 100, Filter: new(accounts.RoomEventFilter)})
	o.must(err)
	_, err = o.sync.Messages(t.Context(), syncer.PageRequest{
		User: alice, Room: o.room, Backward: true, To: page.End, Limit: 100, Filter: new(accounts.RoomEventFilter),
	})
	o.must(err)
	if o.fetches != fetches {
		t.Errorf("%d times others are asked", o.fetches-fetches)
	}
}

func TestNearestBeforeThisServerCame(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		o := comeLate(t, url, 10)
		nearest := func(ts int64, backward bool) *storage.Event {
			t.Helper()
			e, err := o.sync.Nearest(t.Context(), o.room, alice, ts, backward)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		last, first := o.events[len(o.events)-1], o.events[0]
		if e := nearest(last.OriginServerTS+1, true); e.ID != last.ID || o.fetches > 0 {
			t.Errorf("after all the closest is %s, after %d questions", e.ID, o.fetches)
		}
		if _, err := o.sync.Nearest(t.Context(), o.room, bob, 1, false); matrix.Code(err) != "M_FORBIDDEN" || o.fetches > 0 {
			t.Errorf("who is not in gets %v, after %d questions", err, o.fetches)
		}
		if e := nearest(1, false); e.ID != first.ID {
			t.Errorf("the first is %s", e.ID)
		}
		fetches := o.fetches
		if _, err := o.sync.Nearest(t.Context(), o.room, alice, first.OriginServerTS-1, true); matrix.Code(err) != "M_NOT_FOUND" || o.fetches != fetches {
			t.Errorf("before the room began there is %v, after %d questions", err, o.fetches-fetches)
		}
	})
}

// TestATimelineEndsAtAGap has the server miss what another one says: clients must not take what comes next for what came right after.
func TestATimelineEndsAtAGap(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		o := comeLate(t, url, 3)
		o.say(o.room, alice, "before the gap")
		known := o.syncNow(syncer.Request{User: alice, Filter: new(accounts.Filter)}).NextBatch
		for range 5 {
			o.there.say(o.room, dave, "missed")
		}
		told := func() *matrix.Event {
			e, err := o.there.store.Events.ByID(t.Context(), o.there.say(o.room, dave, "told"))
			o.must(err)
			return e.Event
		}
		first, next := told(), told()
		for _, step := range []struct {
			arrival rooms.Arrival
			limited bool
		}{
			{rooms.Arrival{Event: first, State: o.stateBefore(len(o.events))}, true},
			{rooms.Arrival{Event: next}, false},
		} {
			done, err := o.rooms.Receive(t.Context(), o.room, []rooms.Arrival{step.arrival})
			o.must(err)
			if done[0].Verdict != storage.Placed || len(done[0].Missing) > 0 {
				t.Fatalf("%+v", done)
			}
			res := o.syncNow(syncer.Request{User: alice, Since: known, Filter: new(accounts.Filter)})
			known = res.NextBatch
			timeline := res.Rooms.Join[o.room].Timeline
			if events := o.read(timeline.Events); len(events) != 1 || events[0].ID != step.arrival.Event.ID || timeline.Limited != step.limited {
				t.Errorf("the timeline is %+v, limited: %v, want %v", events, timeline.Limited, step.limited)
			}
		}
		// Who has heard of neither is told no more than what is behind the gap.
		res := o.syncNow(syncer.Request{User: alice, Filter: new(accounts.Filter)})
		timeline := res.Rooms.Join[o.room].Timeline
		if events := o.read(timeline.Events); len(events) != 2 || !timeline.Limited {
			t.Errorf("the first timeline is %+v, limited: %v", events, timeline.Limited)
		}
		if page := o.page(timeline.PrevBatch, 1); len(page.Chunk) != 1 || o.read(page.Chunk)[0].Sender != alice {
			t.Errorf("before it is %+v", page)
		}
	})
}
