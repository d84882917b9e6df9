package pushers

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"trestle/homeserver/storage"
)

func TestPausesGrow(t *testing.T) {
	s := &Service{options: Options{MailDelay: 10 * time.Minute}}
	var known storage.PusherRoom
	now := time.Now().UnixMilli()
	for i, want := range []time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		known.Pause = s.pauseOf(known, now).Milliseconds()
		if got := time.Duration(known.Pause) * time.Millisecond; got != want {
			t.Errorf("pause %d is %v, want %v", i, got, want)
		}
		known.MailedAt = now
		now += known.Pause
	}
	if got := s.pauseOf(known, now+(50*time.Hour).Milliseconds()); got != 10*time.Minute {
		t.Errorf("after days: %v", got)
	}
}

func TestDue(t *testing.T) {
	d := &digest{rooms: []*unreadRoom{{nid: 1, oldest: 1000}, {nid: 2, oldest: 2000}}}
	if at := d.due(time.Second); at != 2000 {
		t.Errorf("due at %d", at)
	}
	d.known = map[int64]storage.PusherRoom{1: {MailedAt: 500, Pause: 9000}}
	if at := d.due(time.Second); at != 3000 {
		t.Errorf("with a mail lately: %d", at)
	}
}

func FuzzOneLine(f *testing.F) {
	for _, seed := range []string{"a\nb", "\u202eabc", strings.Repeat("ä", 400), "👨\u200d👩", "\xff\x00", "  "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line := oneLine(text, 50)
		if strings.ContainsFunc(line, unicode.IsControl) || len([]rune(line)) > 50 || strings.ContainsRune(line, '\u202e') {
			t.Errorf("%q became %q", text, line)
		}
		if again := oneLine(line, 50); again != line {
			t.Errorf("%q became %q", line, again)
		}
	})
}
