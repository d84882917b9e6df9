package registration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/registration"
)

func TestRotateFileKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	real, path := filepath.Join(dir, "real"), filepath.Join(dir, "bridge.yaml")
	text := "# Made by a bridge.\n" + strings.TrimPrefix(whole, "\n") + "# its own setting\nbridge.mood: fine\n"
	if err := os.WriteFile(real, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", path); err != nil {
		t.Fatal(err)
	}
	before, err := registration.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if _, err := registration.RotateFile(path, registration.Rotation{ASToken: "new_as", Until: until}); err != nil {
		t.Fatal(err)
	}
	after, err := registration.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := registration.Previous{ASToken: before.ASToken, Until: until}
	if after.ASToken != "new_as" || after.HSToken != before.HSToken || after.Previous != want {
		t.Errorf("%+v", after)
	}
	raw, err := os.ReadFile(real)
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"# Made by a bridge.", "# its own setting\nbridge.mood: fine", `regex: "@_irc_bridge_.*"`} {
		if !strings.Contains(string(raw), kept) {
			t.Errorf("%q is gone from\n%s", kept, raw)
		}
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	// The second time the one before the last is forgotten.
	again, err := registration.RotateFile(path, registration.Rotation{ASToken: "newer", HSToken: "newer_hs", Until: until})
	if err != nil || again.Previous != (registration.Previous{ASToken: "new_as", HSToken: before.HSToken, Until: until}) {
		t.Errorf("%+v, %v", again, err)
	}
	at, err := registration.RotateFile(path, registration.Rotation{ASToken: "newest"})
	if err != nil || !at.Previous.Until.IsZero() {
		t.Errorf("without a grace: %+v, %v", at, err)
	}
}

func TestFormerTokens(t *testing.T) {
	reg := registration.Generate("a", "", "abot")
	until := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	reg.Previous = registration.Previous{ASToken: "before", Until: until}
	set, err := registration.NewSet("hs", reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		token string
		at    time.Time
		want  bool
	}{
		{reg.ASToken, until.Add(time.Hour), true},
		{"before", until.Add(-time.Second), true},
		{"before", until, false},
		{"", until, false},
	} {
		if got := set.Holder(c.token, c.at) != nil; got != c.want {
			t.Errorf("%q at %v: %v", c.token, c.at, got)
		}
	}
	other := registration.Generate("b", "", "bbot")
	other.ASToken = "before"
	if _, err := registration.NewSet("hs", reg, other); err == nil || !strings.Contains(err.Error(), "was the as_token of") {
		t.Errorf("another service has the token from before: %v", err)
	}
	if _, err := reg.Marshal(); err != nil {
		t.Error(err)
	}
}
