package ephemeral_test

import (
	"encoding/json"
	"testing"
	"time"

	"trestle/homeserver/ephemeral"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// sees is the presence of a user as another reads it, "online" with a star if
// currently active.
func (w *town) sees(reader, user matrix.UserID) string {
	w.t.Helper()
	status, err := w.Presence(w.t.Context(), reader, user)
	w.must(err)
	if status.CurrentlyActive != nil && *status.CurrentlyActive {
		return status.Presence + "*"
	}
	return status.Presence
}

// news is the presence that a user is told after a serial, by sender.
func (w *town) news(reader matrix.UserID, since int64) map[string]string {
	w.t.Helper()
	events, err := w.PresenceSince(w.t.Context(), reader, since)
	w.must(err)
	all := map[string]string{}
	for _, raw := range events {
		var e struct {
			Sender  string
			Content struct{ Presence string }
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			w.t.Fatal(err)
		}
		all[e.Sender] = e.Content.Presence
	}
	return all
}

func TestPresenceFades(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		room := w.room("@a:hs", "@b:hs")
		expect := func(when, want string) {
			t.Helper()
			if got := w.sees("@b:hs", "@a:hs"); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		expect("at first", "offline")
		done := w.Seen(t.Context(), "@a:hs", "PHONE", "")
		expect("when a sync begins", "online*")
		serial := w.serial("@b:hs")
		w.wait(59 * time.Second)
		expect("after 59 s", "online*")
		w.wait(6 * time.Second)
		expect("after a minute", "online")
		if got := w.news("@b:hs", serial); got["@a:hs"] != "online" {
			t.Errorf("not told that somebody is less active: %v", got)
		}
		done()
		done = w.Seen(t.Context(), "@a:hs", "PHONE", "online")
		expect("a further sync is no activity", "online")
		w.wait(4 * time.Minute)
		expect("after five minutes", "unavailable")
		w.say(room, "@a:hs")
		expect("after a message", "online*")
		done()
		w.wait(29 * time.Second)
		expect("29 s after the last sync", "online*")
		w.wait(time.Second)
		expect("30 s after the last sync", "offline")
		if got := w.news("@b:hs", w.serial("@b:hs")); len(got) != 0 {
			t.Errorf("told twice: %v", got)
		}

		// Of two devices, the one that is more there counts.
		w.Seen(t.Context(), "@a:hs", "LAPTOP", "unavailable")
		expect("one idle device", "unavailable")
		done = w.Seen(t.Context(), "@a:hs", "PHONE", "online")
		expect("and one that is there", "online*")
		done()
		w.wait(time.Minute)
		expect("which goes again", "unavailable")
		w.must(w.SetPresence(t.Context(), "@a:hs", "LAPTOP", "offline", ""))
		expect("and the other says so", "offline")
	})
}

func TestServicesWordStands(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		w.room("@a:hs", "@ghost:hs")
		w.must(w.SetPresence(t.Context(), "@ghost:hs", "", "online", "on IRC"))
		w.wait(time.Hour)
		if got := w.sees("@a:hs", "@ghost:hs"); got != "online" {
			t.Errorf("a ghost is %s after an hour", got)
		}
		w.must(w.SetPresence(t.Context(), "@ghost:hs", "", "offline", ""))
		if got := w.sees("@a:hs", "@ghost:hs"); got != "offline" {
			t.Errorf("a ghost that has gone is %s", got)
		}
	})
}

func TestMeetingPeople(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		room := w.room("@a:hs", "@b:hs")
		w.room("@c:hs")
		for _, user := range []matrix.UserID{"@a:hs", "@b:hs", "@c:hs"} {
			w.Seen(t.Context(), user, "PHONE", "online")
		}
		w.wait(0)
		before := w.serial("@c:hs")
		if got := w.news("@c:hs", before); len(got) != 0 {
			t.Errorf("a stranger is told of %v", got)
		}
		w.join(room, "@c:hs")
		w.wait(0)
		if got := w.news("@c:hs", before); len(got) != 3 || got["@b:hs"] != "online" {
			t.Errorf("who comes in is told of %v", got)
		}
		if got := w.news("@a:hs", before); len(got) != 1 || got["@c:hs"] != "online" {
			t.Errorf("who was there is told of %v", got)
		}
		if got := w.news("@c:hs", w.serial("@c:hs")); len(got) != 0 {
			t.Errorf("told again of %v", got)
		}
		if got := w.news("@b:hs", 0); len(got) != 3 {
			t.Errorf("a first sync tells of %v", got)
		}

		before = w.serial("@c:hs")
		w.must(w.rooms.Leave(t.Context(), rooms.MemberRequest{Room: room, Sender: "@c:hs", Target: "@c:hs"}))
		if got := w.news("@b:hs", 0); len(got) != 2 {
			t.Errorf("a first sync tells of %v, one of whom has left", got)
		}
		for _, user := range []matrix.UserID{"@b:hs", "@c:hs"} {
			w.must(w.SetPresence(t.Context(), user, "PHONE", "unavailable", ""))
		}
		if got := w.news("@c:hs", before); len(got) != 1 || got["@c:hs"] == "" {
			t.Errorf("who has left is told of %v", got)
		}
		if got := w.news("@a:hs", before); len(got) != 1 || got["@b:hs"] == "" {
			t.Errorf("who stays is told of %v", got)
		}
	})
}

func TestNoPresence(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url, func(o *ephemeral.Options) { o.NoPresence = true })
		room := w.room("@a:hs", "@b:hs")
		w.Seen(t.Context(), "@a:hs", "PHONE", "online")()
		w.must(w.SetPresence(t.Context(), "@a:hs", "PHONE", "online", "hello"))
		w.say(room, "@a:hs")
		w.wait(0)
		if got := w.sees("@b:hs", "@a:hs"); got != "offline" {
			t.Errorf("presence %s", got)
		}
		if got := w.news("@b:hs", 0); len(got) != 0 {
			t.Errorf("told of %v", got)
		}
		if err := w.SetPresence(t.Context(), "@a:hs", "PHONE", "busy", ""); matrix.Code(err) != "M_INVALID_PARAM" {
			t.Errorf("an unknown state: %v", err)
		}
	})
}
