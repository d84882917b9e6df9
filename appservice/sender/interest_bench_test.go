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

// BenchmarkFirstEventOfARoom decides the interest in a room with 5,000 members
// of which nothing is known but whose namespaces the members are in.
func BenchmarkFirstEventOfARoom(b *testing.B) {
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
	var c crowd
	for i := range 5000 {
		c.members = append(c.members, matrix.UserID(fmt.Sprintf("@irc_user%d:hs", i)))
	}
	decide := newInterest(c, set, "")
	for b.Loop() {
		decide.forget()
		if list, _ := decide.decide(b.Context(), &Change{Room: "!r:hs", Sender: "@alice:hs"}); len(list) != 1 {
			b.Fatal("not interested")
		}
	}
}
