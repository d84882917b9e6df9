package bridge

import (
	"slices"
	"testing"

	"trestle/internal/matrix"
)

// The key to what is said in a guarded channel is for those in the room who are in the channel,
// and for those who were when they were removed.
func TestAudience(t *testing.T) {
	p := newPortal(&Bridge{})
	for _, user := range []matrix.UserID{"@in:hs", "@out:hs", "@leaving:hs"} {
		p.people[user] = ""
	}
	p.gate.present["@in:hs"], p.gate.leaving["@leaving:hs"] = true, 1
	p.gate.present["@elsewhere:hs"] = true
	for guarded, want := range map[bool][]matrix.UserID{
		true:  {"@in:hs", "@leaving:hs"},
		false: {"@in:hs", "@leaving:hs", "@out:hs"},
	} {
		p.gate.guarded = guarded
		got := p.audience()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("guarded %v: %v, want %v", guarded, got, want)
		}
	}
}
