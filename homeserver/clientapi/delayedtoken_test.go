package clientapi

import (
	"testing"

	"trestle/homeserver/delayed"
	"trestle/internal/matrix"
)

// A token says where it was made, and what is none is refused.
func FuzzDelayedToken(f *testing.F) {
	f.Add("MTcwMDAwMDAwMDAwMC5hYmM", int64(5), "abc")
	f.Add("Li4", int64(-1), "")
	f.Fuzz(func(t *testing.T, text string, due int64, id string) {
		if _, _, err := parseDelayedToken(text); err != nil && matrix.Code(err) != "M_INVALID_PARAM" {
			t.Error(err)
		}
		gotDue, gotID, err := parseDelayedToken(delayedToken(&delayed.Event{ID: id, Since: due}))
		if err == nil && (gotDue != due || gotID != id) {
			t.Errorf("%d %q became %d %q", due, id, gotDue, gotID)
		}
	})
}
