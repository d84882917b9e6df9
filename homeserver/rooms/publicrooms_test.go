package rooms

import (
	"testing"

	"trestle/internal/matrix"
)

// A token of the directory says where it was made, and what is none is refused.
func FuzzPlace(f *testing.F) {
	f.Add("Zi4xLjI", true, int64(1), int64(2))
	f.Add("Yi4tMS4", false, int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, text string, backward bool, count, nid int64) {
		if _, err := parsePlace(text); err != nil && matrix.Code(err) != "M_INVALID_PARAM" {
			t.Error(err)
		}
		p := place{backward, count, nid}
		if got, err := parsePlace(p.token()); err != nil || got != p {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	})
}
