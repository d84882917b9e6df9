package sender

import (
	"context"
	"fmt"
	"testing"

	"trestle/internal/matrix"
	"trestle/registration"
)

type crowd struct{ members []matrix.UserID }

func (c crowd) Room(context.Context, matrix.RoomID, int64) (Room, error) {
	return Room{Members: c.members}, nil
}

// BenchmarkInterest decides the interest in a room with 5,000 members: with
// nothing known of it but its members, alone or beside another service; then
// with everybody looked at, after one of them has changed, and when it is known.
func BenchmarkInterest(b *testing.B) {
	r := registration.Generate("irc", "http://localhost:1", "ircbot")
	n, err := registration.NewNamespace("@irc_.*", true)
	if err != nil {
		b.Fatal(err)
	}
	r.Namespaces.Users = []registration.Namespace{n}
	set, err := registration.NewSet("hs", r)
	if err != nil {
		b.Fatal(err)
	}
	// Beside one of whom nobody is in the room, everybody is looked at.
	both, err := registration.NewSet("hs", r, registration.Generate("other", "http://localhost:1", "otherbot"))
	if err != nil {
		b.Fatal(err)
	}
	room := func(ghosts int) crowd {
		var c crowd
		for i := range 5000 {
			name := "@person%d:hs"
			if i < ghosts {
				name = "@irc_user%d:hs"
			}
			c.members = append(c.members, matrix.UserID(fmt.Sprintf(name, i)))
		}
		return c
	}
	message := Change{Room: "!r:hs", Sender: "@alice:hs"}
	part := Change{Room: "!r:hs", Sender: "@irc_user1:hs", Target: "@irc_user1:hs", Membership: "leave"}
	join := Change{Room: "!r:hs", Sender: "@irc_user1:hs", Target: "@irc_user1:hs", Membership: "join"}
	for _, c := range []struct {
		name   string
		ghosts int
		before func(*interest)
		change []*Change
		set    *registration.Set
	}{
		{"first/5000ghosts", 5000, (*interest).forget, []*Change{&message}, set},
		{"first/50ghosts", 50, (*interest).forget, []*Change{&message}, set},
		{"beside/5000ghosts", 5000, (*interest).forget, []*Change{&message}, both},
		{"beside/50ghosts", 50, (*interest).forget, []*Change{&message}, both},
		{"settled", 5000, (*interest).forget, []*Change{&message, &part}, set},
		{"member", 5000, func(*interest) {}, []*Change{&part, &message, &join}, set},
		{"known", 5000, func(*interest) {}, []*Change{&message}, set},
	} {
		b.Run(c.name, func(b *testing.B) {
			decide := newInterest(room(c.ghosts), c.set, "")
			for b.Loop() {
				c.before(decide)
				for _, change := range c.change {
					if list, _ := decide.decide(b.Context(), change); len(list) != 1 || list[0] != r {
						b.Fatal("not interested")
					}
				}
			}
		})
	}
}
