// Package roomgen makes up rooms for tests: random but reproducible histories
// with forks, merges, bans, fights for power and changes of join rules. Every
// event is hashed and signed as in a real room. Nothing but tests uses it.
package roomgen

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
)

// A Merge resolves the states of forks that come together.
type Merge func(v *roomversion.Version, states []eventauth.StateMap, auth func(matrix.EventID) *matrix.Event) (eventauth.StateMap, error)

// A Try is an event that somebody wanted to send, and the state before it.
type Try struct {
	Event   *matrix.Event
	State   eventauth.StateMap
	Allowed bool // as eventauth has it
}

// A Room is a room with its whole history.
type Room struct {
	Version *roomversion.Version
	ID      matrix.RoomID
	Create  *matrix.Event
	Events  map[matrix.EventID]*matrix.Event
	Tries   []Try
	// Tips are the states after the newest events of the forks.
	Tips []eventauth.StateMap

	rand  *rand.Rand
	clock int64
	forks []fork
	merge Merge
}

// A fork is an end of the history.
type fork struct {
	tips  []matrix.EventID
	depth int64
	state eventauth.StateMap
}

// The people of every generated room. Alice creates it.
const (
	Alice = matrix.UserID("@alice:one.example")
	Bob   = matrix.UserID("@bob:two.example")
	Carol = matrix.UserID("@carol:one.example")
	Dave  = matrix.UserID("@dave:three.example")
	Erin  = matrix.UserID("@erin:two.example")
)

var people = []matrix.UserID{Alice, Bob, Carol, Dave, Erin}

var signingKey = matrix.SigningKey{
	ID:      "ed25519:test",
	Private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)),
}

// New makes up a room of the given number of steps.
func New(v *roomversion.Version, seed uint64, steps int, merge Merge) (*Room, error) {
	r := &Room{
		Version: v,
		Events:  map[matrix.EventID]*matrix.Event{},
		rand:    rand.New(rand.NewPCG(seed, 12)),
		clock:   1_700_000_000_000,
		merge:   merge,
	}
	if err := r.begin(); err != nil {
		return nil, fmt.Errorf("begin room %d of version %s: %w", seed, v.ID, err)
	}
	for range steps {
		if err := r.step(); err != nil {
			return nil, fmt.Errorf("go on with room %d of version %s: %w", seed, v.ID, err)
		}
	}
	for _, f := range r.forks {
		r.Tips = append(r.Tips, f.state)
	}
	return r, nil
}

// Auth finds an event of the room, or nil.
func (r *Room) Auth(id matrix.EventID) *matrix.Event { return r.Events[id] }

// begin creates the room, with Alice in it, and Bob somewhat powerful.
func (r *Room) begin() error {
	content := map[string]any{"room_version": r.Version.ID}
	if !r.Version.CreatorFromSender {
		content["creator"] = Alice
	}
	if r.Version.PrivilegedCreators && r.chance(3) {
		content["additional_creators"] = []matrix.UserID{Carol}
	}
	r.ID = "!room:one.example"
	template := r.template(Alice, "m.room.create", key(""), content)
	if r.Version.RoomIDFromCreate {
		template.RoomID = ""
	}
	create, err := template.Build(r.Version, "one.example", signingKey)
	if err != nil {
		return err
	}
	r.Create, r.ID = create, create.RoomID
	r.Events[create.ID] = create
	r.forks = []fork{{tips: []matrix.EventID{create.ID}, depth: 1, state: eventauth.StateOf(create)}}

	users := map[matrix.UserID]int{Alice: 100, Bob: 50}
	if r.Version.PrivilegedCreators {
		users = map[matrix.UserID]int{Bob: 50}
	}
	for _, template := range []matrix.EventTemplate{
		r.template(Alice, "m.room.member", key(Alice), membership("join")),
		r.template(Alice, "m.room.power_levels", key(""), map[string]any{"users": users}),
		r.template(Alice, "m.room.join_rules", key(""), map[string]any{"join_rule": "public"}),
		r.template(Bob, "m.room.member", key(Bob), membership("join")),
		r.template(Carol, "m.room.member", key(Carol), membership("join")),
	} {
		if err := r.send(&r.forks[0], template); err != nil {
			return err
		}
	}
	return nil
}

// step lets somebody do something on one of the forks, splits one or joins all.
func (r *Room) step() error {
	switch {
	case len(r.forks) < 4 && r.chance(12):
		r.forks = append(r.forks, r.anyFork().copy())
	case len(r.forks) > 1 && r.chance(20):
		return r.join()
	}
	return r.send(r.anyFork(), r.anything())
}

// join merges all forks.
func (r *Room) join() error {
	var merged fork
	var states []eventauth.StateMap
	for _, f := range r.forks {
		states = append(states, f.state)
		merged.tips = append(merged.tips, f.tips...)
		merged.depth = max(merged.depth, f.depth)
	}
	var err error
	merged.state, err = r.merge(r.Version, states, r.Auth)
	r.forks = []fork{merged}
	return err
}

// send builds an event at the end of a fork, and adds it if it is allowed.
func (r *Room) send(f *fork, template matrix.EventTemplate) error {
	template.PrevEvents = f.tips
	template.Depth = f.depth + 1
	for _, need := range eventauth.NeededFor(r.Version, template) {
		if auth := f.state[need]; auth != nil {
			template.AuthEvents = append(template.AuthEvents, auth.ID)
		}
	}
	e, err := template.Build(r.Version, template.Sender.Server(), signingKey)
	if err != nil {
		return err
	}
	allowed := eventauth.Allowed(e, f.state) == nil
	r.Tries = append(r.Tries, Try{Event: e, State: f.state, Allowed: allowed})
	if !allowed {
		return nil
	}
	r.Events[e.ID] = e
	f.tips, f.depth = []matrix.EventID{e.ID}, e.Depth
	if e.IsState() {
		f.state = f.copy().state
		f.state[eventauth.StateKey{Type: e.Type, Key: *e.StateKey}] = e
	}
	return nil
}

func (f *fork) copy() fork {
	state := make(eventauth.StateMap, len(f.state)+1)
	for key, e := range f.state {
		state[key] = e
	}
	return fork{tips: f.tips, depth: f.depth, state: state}
}

// template is an event now; clocks of servers are not always right, and
// sometimes two show the same time.
func (r *Room) template(sender matrix.UserID, typ string, stateKey *string, content any) matrix.EventTemplate {
	raw, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	r.clock += int64(r.rand.IntN(3)) * 1000
	at := r.clock
	if r.chance(8) {
		at -= int64(r.rand.IntN(60)) * 1000
	}
	return matrix.EventTemplate{
		RoomID: r.ID, Sender: sender, Type: typ, StateKey: stateKey, Content: raw, OriginServerTS: at,
	}
}

func (r *Room) anyFork() *fork { return &r.forks[r.rand.IntN(len(r.forks))] }

func (r *Room) anyone() matrix.UserID { return pick(r, people...) }

// chance is true once in n times.
func (r *Room) chance(n int) bool { return r.rand.IntN(n) == 0 }

func pick[T any](r *Room, of ...T) T { return of[r.rand.IntN(len(of))] }

func key[T ~string](s T) *string {
	k := string(s)
	return &k
}

func membership(m string) map[string]any { return map[string]any{"membership": m} }

// Distorted are the states of the forks as a server might have them that
// learnt of them from others and was told wrongly: some entries are older than
// they should be, some are missing. At least two states are given.
func (r *Room) Distorted() []eventauth.StateMap {
	states := make([]eventauth.StateMap, 0, 3)
	for _, tip := range r.Tips {
		states = append(states, r.distort(tip))
	}
	for len(states) < 2 {
		states = append(states, r.distort(r.Tips[0]))
	}
	return states
}

func (r *Room) distort(state eventauth.StateMap) eventauth.StateMap {
	distorted := make(eventauth.StateMap, len(state))
	for key, e := range state {
		distorted[key] = e
	}
	for range 1 + r.rand.IntN(4) {
		try := pick(r, r.Tries...)
		if !try.Allowed || !try.Event.IsState() || try.Event.Type == "m.room.create" {
			continue
		}
		key := eventauth.StateKey{Type: try.Event.Type, Key: *try.Event.StateKey}
		if r.chance(6) {
			delete(distorted, key)
		} else {
			distorted[key] = try.Event
		}
	}
	return distorted
}
