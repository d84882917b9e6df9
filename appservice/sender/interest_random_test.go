package sender

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/internal/matrix"
	"trestle/registration"
)

// changing is rooms as they are now.
type changing map[matrix.RoomID]map[matrix.UserID]bool

func (c changing) Room(_ context.Context, room matrix.RoomID, _ int64) (Room, error) {
	return Room{Members: slices.Collect(maps.Keys(c[room]))}, nil
}

// Whoever comes and goes, and however much of a room was looked at: interested
// are those who watch somebody in it, the sender or the target.
func TestInterestOfRandomRooms(t *testing.T) {
	var regs []*registration.Registration
	for _, id := range []string{"tea", "irc", "all"} {
		r := registration.Generate(id, "http://localhost:1", id+"bot")
		expression := "@" + id + "_.*"
		if id == "all" {
			expression = "@(irc|tea)_[0-4]:.*"
		}
		n, err := registration.NewNamespace(expression, false)
		if err != nil {
			t.Fatal(err)
		}
		r.Namespaces.Users = []registration.Namespace{n}
		regs = append(regs, r)
	}
	set, err := registration.NewSet("hs", regs...)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	someone := func() matrix.UserID {
		kind := []string{"irc", "tea", "person"}[random.IntN(3)]
		return matrix.UserID(fmt.Sprintf("@%s_%d:hs", kind, random.IntN(9)))
	}
	rooms := changing{}
	for r := range 5 {
		members := map[matrix.UserID]bool{}
		for range random.IntN(12) {
			members[someone()] = true
		}
		rooms[matrix.RoomID(fmt.Sprint("!", r, ":hs"))] = members
	}
	for _, only := range []string{"", "tea"} {
		decide := newInterest(rooms, set, only)
		for step := range 5000 {
			c := Change{Room: matrix.RoomID(fmt.Sprint("!", random.IntN(5), ":hs")), Sender: "@alice:hs"}
			members := rooms[c.Room]
			switch random.IntN(10) {
			case 0, 1:
				c.Target, c.Membership = someone(), "join"
				members[c.Target] = true
			case 2, 3:
				c.Target, c.Membership = someone(), "leave"
				delete(members, c.Target)
			case 4:
				c.Sender = someone()
			case 5:
				decide.invalidate(c.Room)
			}
			want := map[string]bool{}
			for user := range members {
				for _, r := range set.UserWatchers(user) {
					want[r.ID] = true
				}
			}
			for _, r := range append(slices.Clone(set.UserWatchers(c.Sender)), set.UserWatchers(c.Target)...) {
				want[r.ID] = true
			}
			got := map[string]bool{}
			list, err := decide.decide(t.Context(), &c)
			for _, r := range list {
				got[r.ID] = true
			}
			maps.DeleteFunc(want, func(id string, _ bool) bool { return only != "" && id != only })
			if err != nil || len(list) != len(got) || !maps.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %+v interests %v, %v; should be %v", seed, step, c, got, err, want)
			}
		}
	}
}
