package syncer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func numbers(n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = int64(i)
	}
	return list
}

// Parts are used in their order, each with what was read of it, while the next
// ones are read.
func TestInParts(t *testing.T) {
	const parts = 7
	var running, most atomic.Int64
	together := make(chan struct{}) // closed when two are read at once
	var once sync.Once
	read := func(_ context.Context, rooms []int64) (*Ahead, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			continue
		}
		if n > 1 {
			once.Do(func() { close(together) })
		}
		<-together
		return &Ahead{upTo: rooms[0]}, nil
	}
	var used []int64
	err := inParts(t.Context(), numbers(parts*roomsAtOnce-1), read, func(rooms []int64, ahead *Ahead) error {
		if ahead.upTo != rooms[0] {
			t.Errorf("what was read of %d is used for %d", ahead.upTo, rooms[0])
		}
		used = append(used, rooms...)
		return nil
	})
	if err != nil || !slices.Equal(used, numbers(parts*roomsAtOnce-1)) {
		t.Errorf("%v; used %d rooms", err, len(used))
	}
	if n := most.Load(); n != partsAhead {
		t.Errorf("%d parts were read at the same time", n)
	}
}

// Whatever ends it, nobody reads any more afterwards.
func TestInPartsEnds(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		read func(rooms []int64) error
		use  func(rooms []int64) error
		want string
	}{
		"reading": {read: func([]int64) error { return broken }, want: "broken"},
		"using":   {use: func([]int64) error { return broken }, want: "broken"},
		"panic":   {read: func([]int64) error { panic("lost") }, want: "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			var running atomic.Int64
			used := 0
			err := inParts(t.Context(), numbers(5*roomsAtOnce), func(ctx context.Context, rooms []int64) (*Ahead, error) {
				running.Add(1)
				defer running.Add(-1)
				if rooms[0] > 0 { // the first decides; others learn of it
					<-ctx.Done()
					return nil, ctx.Err()
				}
				if test.read != nil {
					return nil, test.read(rooms)
				}
				return nil, nil
			}, func(rooms []int64, _ *Ahead) error {
				used++
				return test.use(rooms)
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v", err)
			}
			if n := running.Load(); n != 0 || used > 1 {
				t.Errorf("%d still read; %d parts were used", n, used)
			}
		})
	}
}
