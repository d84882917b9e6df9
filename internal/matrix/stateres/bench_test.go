package stateres_test

import (
	"fmt"
	"testing"

	"trestle/internal/matrix/stateres"
)

// Two forks of a room with many members: a topic on one, a name on the other.
func BenchmarkResolve(b *testing.B) {
	for _, version := range []string{"11", "12"} {
		for _, members := range []int{10, 5000} {
			begin := newHistory(&testing.T{}, version)
			for i := range members {
				user := fmt.Sprintf("@user%d:two.example", i)
				begin.member(fmt.Sprint("user", i), user, user, "join")
			}
			left, right := begin.fork(), begin.fork()
			left.topic("topic", bob)
			left.member("kick", bob, carol, "leave")
			right.levels("more", alice, `{"@bob:two.example":60}`)
			states := []stateres.StateMap{left.state, right.state}
			b.Run(fmt.Sprintf("v%s/%dmembers", version, members), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := stateres.Resolve(begin.version, states, begin.auth); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The same, by callers who know where the states differ.
func BenchmarkMerge(b *testing.B) {
	begin := newHistory(&testing.T{}, "12")
	for i := range 5000 {
		user := fmt.Sprintf("@user%d:two.example", i)
		begin.member(fmt.Sprint("user", i), user, user, "join")
	}
	left, right := begin.fork(), begin.fork()
	left.topic("topic", bob)
	left.member("kick", bob, carol, "leave")
	right.levels("more", alice, `{"@bob:two.example":60}`)
	forks := []stateres.StateMap{{}, {}}
	for i, f := range []*fork{left, right} {
		for _, key := range []stateres.StateKey{
			{Type: "m.room.topic"}, {Type: "m.room.member", Key: carol}, {Type: "m.room.power_levels"},
		} {
			delete(begin.state, key)
			if e := f.state[key]; e != nil {
				forks[i][key] = e
			}
		}
	}
	resolver := stateres.Resolver{Version: begin.version, Auth: begin.auth}
	agreed := stateres.AgreedMap(begin.state)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := resolver.Merge(agreed, forks); err != nil {
			b.Fatal(err)
		}
	}
}
