package database_test

import (
	"testing"
	"time"

	"trestle/internal/database"
)

// A portion comes to what takes a millisecond, from both sides, and stays
// between its bounds.
func TestPortion(t *testing.T) {
	for name, c := range map[string]struct {
		each     time.Duration // for one of them
		min, max int
	}{
		"quick":   {time.Microsecond / 2, 500, 500},
		"usual":   {20 * time.Microsecond, 24, 50},
		"slow":    {time.Second, 10, 10},
		"nothing": {0, 500, 500},
	} {
		p := database.NewPortion(10, 500)
		if p.Size() != 10 {
			t.Errorf("%s: begins with %d", name, p.Size())
		}
		for range 50 {
			p.Took(p.Size(), time.Duration(p.Size())*c.each)
		}
		if n := p.Size(); n < c.min || n > c.max {
			t.Errorf("%s: %d", name, n)
		}
		for range 20 {
			p.Took(p.Size(), time.Hour)
		}
		if p.Size() != 10 {
			t.Errorf("%s: ends with %d", name, p.Size())
		}
	}
	// A small one that was quick says nothing about a large one.
	p := database.NewPortion(10, 500)
	p.Took(3, time.Microsecond)
	if p.Size() != 10 {
		t.Errorf("grew to %d", p.Size())
	}
}
