package homeserver

import (
	"testing"

	"trestle/appservice/sender"
)

// However pages end, and whatever of them is news to nobody, no entry is left out, and no
// more is collected than is enough.
func TestCollect(t *testing.T) {
	const entries, size = 1000, 60_000
	page := func(after int64) (list []int64, more bool, err error) {
		for p := after + 1; p <= entries && len(list) < 70; p++ {
			list = append(list, p)
		}
		return list, after+int64(len(list)) < entries, nil
	}
	for name, news := range map[string]func(int64) bool{
		"all":       func(int64) bool { return true },
		"a few":     func(p int64) bool { return p%150 == 0 },
		"none":      func(int64) bool { return false },
		"the later": func(p int64) bool { return p > 900 },
	} {
		changes := func(list []int64) (made []sender.Change, _ error) {
			for _, p := range list {
				if news(p) {
					made = append(made, sender.Change{Position: p, Size: size})
				}
			}
			return made, nil
		}
		var want, got []int64
		for p := range int64(entries + 1) {
			if p > 0 && news(p) {
				want = append(want, p)
			}
		}
		for after := int64(0); after < entries; {
			all, err := collect(after, 500, page, func(p int64) int64 { return p }, changes)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) > 2*70 {
				t.Errorf("%s: %d changes are collected at once", name, len(all))
			}
			for _, c := range all {
				got = append(got, c.Position)
			}
			if after = entries; sender.Full(all, 500) {
				after = all[len(all)-1].Position
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d are collected, want %d", name, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: entry %d is %d, want %d", name, i, got[i], want[i])
			}
		}
	}
}
