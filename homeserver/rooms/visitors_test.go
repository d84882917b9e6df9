package rooms_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/testkit"
)

// visit makes the event that a user of another server is proposed.
func (w *world) visit(user matrix.UserID, membership string) *matrix.Event {
	w.t.Helper()
	p, err := w.Peer(user.Server()).Propose(w.t.Context(), rooms.Visit{Room: w.room, User: user, Membership: membership, Versions: []string{w.version.ID}})
	if err != nil {
		w.t.Fatal(err)
	}
	var said struct {
		PrevEvents []matrix.EventID `json:"prev_events"`
		AuthEvents []matrix.EventID `json:"auth_events"`
		Depth      int64            `json:"depth"`
		Content    json.RawMessage  `json:"content"`
	}
	if err := json.Unmarshal(p.Event, &said); err != nil {
		w.t.Fatal(err)
	}
	key := string(user)
	w.clock++
	e, err := matrix.EventTemplate{
		RoomID: w.room, Sender: user, Type: "m.room.member", StateKey: &key, Content: said.Content, OriginServerTS: w.clock,
		Depth: said.Depth, PrevEvents: said.PrevEvents, AuthEvents: said.AuthEvents,
	}.Build(p.Version, user.Server(), w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// stateEvent is one that somebody of another server makes after some events.
func (w *world) stateEvent(sender matrix.UserID, typ, content string, prev ...matrix.EventID) *matrix.Event {
	w.t.Helper()
	before := w.resolve(prev)
	w.clock++
	template := matrix.EventTemplate{
		RoomID: w.room, Sender: sender, Type: typ, StateKey: new(string), Content: json.RawMessage(content),
		OriginServerTS: w.clock, PrevEvents: prev, Depth: 100,
	}
	for _, key := range eventauth.NeededFor(w.version, template) {
		if e := before.Event(key.Type, key.Key); e != nil {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
	}
	e, err := template.Build(w.version, sender.Server(), w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// admitted takes an event in, by the way of visits, and is the state and the chain that are told.
func (w *world) admitted(e *matrix.Event) (state, chain []matrix.EventID) {
	w.t.Helper()
	p := w.Peer(e.Sender.Server())
	if err := p.Admit(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
	w.add(e)
	w.accept(e)
	past, err := p.Before(w.t.Context(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	list := func(into *[]matrix.EventID) func([]*matrix.Event) error {
		return func(events []*matrix.Event) error {
			for _, e := range events {
				*into = append(*into, e.ID)
			}
			return nil
		}
	}
	if err := errors.Join(past.Events(w.t.Context(), list(&state)), past.Chain(w.t.Context(), list(&chain))); err != nil {
		w.t.Fatal(err)
	}
	return state, chain
}

// arrives takes an event in, as other servers send it.
func (w *world) arrives(e *matrix.Event) {
	w.t.Helper()
	done, err := w.Receive(w.t.Context(), w.room, []rooms.Arrival{{Event: e}})
	if err != nil || done[0].Verdict != storage.Placed || len(done[0].Missing) > 0 {
		w.t.Fatal(done, err)
	}
	w.add(e)
	w.accept(e)
}

// Who comes into a room whose history has branches is told what the room was like on the branches that the join comes after, and
// other servers are told of those alone who come in here.
func TestVisitsOfForkedRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, version := range []string{"10", "12"} {
			t.Run(version, func(t *testing.T) {
				f := open(t, url)
				var relayed []int64
				var failure error
				f.Relay = func(_ context.Context, _ *database.Tx, event int64) error {
					relayed = append(relayed, event)
					return failure
				}
				w := newWorld(f, 1, version)
				told := func(e *matrix.Event) {
					t.Helper()
					stored, err := f.store.Events.ByID(t.Context(), e.ID)
					if err != nil || !slices.Equal(relayed, []int64{stored.NID}) {
						t.Errorf("%v are told to others, want %d: %v", relayed, stored.NID, err)
					}
					relayed = nil
				}
				bob := w.visit("@bob:one", "join")
				stale := w.visit("@dora:one", "join")
				w.admitted(bob)
				told(bob)
				topic := w.stateEvent("@bob:one", "m.room.topic", `{"topic":"here"}`, bob.ID)
				name := w.stateEvent("@bob:one", "m.room.name", `{"name":"there"}`, bob.ID)
				w.arrives(topic)
				w.arrives(name)
				if len(relayed) > 0 {
					t.Errorf("%v are told to others", relayed)
				}
				for _, c := range []struct {
					join *matrix.Event
					has  []matrix.EventID
					not  []matrix.EventID
				}{
					{w.visit("@emil:two", "join"), []matrix.EventID{bob.ID, topic.ID, name.ID}, nil},
					{stale, nil, []matrix.EventID{bob.ID, topic.ID, name.ID}},
				} {
					state, chain := w.admitted(c.join)
					told(c.join)
					if want := w.resolve(c.join.PrevEvents); len(state) != len(want) || slices.Contains(state, c.join.ID) {
						t.Errorf("%s is told a state of %d events, want %d", c.join.Sender, len(state), len(want))
					}
					for _, id := range c.has {
						if !slices.Contains(state, id) {
							t.Errorf("%s is not told of %s", c.join.Sender, id)
						}
					}
					for _, id := range c.not {
						if slices.Contains(state, id) {
							t.Errorf("%s is told of %s", c.join.Sender, id)
						}
					}
					for _, id := range c.join.AuthEvents {
						if !slices.Contains(chain, id) {
							t.Errorf("%s is not told what authorizes the join", c.join.Sender)
						}
					}
					w.check(w.Service)
				}

				// What cannot be told to others is not done here.
				failure = errors.New("no")
				late := w.visit("@late:one", "join")
				if err := w.Peer("one").Admit(t.Context(), late); !errors.Is(err, failure) {
					t.Errorf("%v", err)
				}
				w.check(w.Service)
				failure, relayed = nil, nil
				w.admitted(late)
				w.check(w.Service)
			})
		}
	})
}

func BenchmarkVisit(b *testing.B) {
	f := open(b, testkit.SQLite(b))
	room := f.create(rooms.CreateRequest{Preset: "public_chat"})
	for i := range 5000 {
		if _, err := f.Join(b.Context(), string(room), rooms.MemberRequest{Sender: matrix.UserID(fmt.Sprintf("@u%d:s%d", i, i%100))}); err != nil {
			b.Fatal(err)
		}
	}
	head, err := f.Send(b.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{}`)})
	if err != nil {
		b.Fatal(err)
	}
	e, err := f.store.Events.ByID(b.Context(), head)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p := f.Peer("one")
		if _, err := p.Propose(b.Context(), rooms.Visit{Room: room, User: "@a:one", Membership: "join", Versions: []string{"12"}}); err != nil {
			b.Fatal(err)
		}
		past, err := p.Before(b.Context(), e.Event)
		if err != nil {
			b.Fatal(err)
		}
		count := 0
		add := func(part []*matrix.Event) error {
			count += len(part)
			return nil
		}
		if err := errors.Join(past.Events(b.Context(), add), past.Chain(b.Context(), add)); err != nil || count < 5000 {
			b.Fatal(count, err)
		}
	}
}
