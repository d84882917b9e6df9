package accounts_test

import (
	"regexp"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

func TestParseFilter(t *testing.T) {
	f, err := accounts.ParseFilter([]byte(`{"room":{"timeline":{"limit":10,"types":["m.room.*"],"not_senders":["@spam:hs"],"lazy_load_members":true},
		"rooms":["!a:hs"],"include_leave":true},"presence":{"not_types":["*"]},"event_fields":["content.body"],"event_format":"federation","extra":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if *f.Room.Timeline.Limit != 10 || !f.Room.Timeline.LazyLoadMembers || !f.Room.IncludeLeave || f.EventFormat != "federation" || f.EventFields[0] != "content.body" {
		t.Errorf("read as %+v", f)
	}
	timeline := &f.Room.Timeline
	if !timeline.Allows("m.room.message", "@a:hs") || timeline.Allows("m.reaction", "@a:hs") || timeline.Allows("m.room.message", "@spam:hs") {
		t.Error("the timeline filter decides wrongly")
	}
	if !f.Room.AllowsRoom("!a:hs") || f.Room.AllowsRoom("!b:hs") || !timeline.AllowsRoom("!b:hs") || f.Presence.Allows("m.presence", "@a:hs") {
		t.Error("the room filter decides wrongly")
	}
	if !timeline.AllowsURL(true) || !timeline.AllowsURL(false) {
		t.Error("without contains_url, url does matter")
	}
	g, err := accounts.ParseRoomEventFilter([]byte(` {"contains_url":false,"not_rooms":["!a:hs"],"types":[]}`))
	if err != nil || g.AllowsURL(true) || !g.AllowsURL(false) || g.AllowsRoom("!a:hs") || g.Allows("m.any", "@a:hs") {
		t.Errorf("room event filter %+v, %v", g, err)
	}
}

func TestParseFilterRefuses(t *testing.T) {
	for body, code := range map[string]string{
		``:                            "M_NOT_JSON",
		`{`:                           "M_NOT_JSON",
		`null`:                        "M_BAD_JSON",
		`[]`:                          "M_BAD_JSON",
		`{"presence":"x"}`:            "M_BAD_JSON",
		`{"room":[]}`:                 "M_BAD_JSON",
		`{"room":{"timeline":"x"}}`:   "M_BAD_JSON",
		`{"room":{"state":"x"}}`:      "M_BAD_JSON",
		`{"room":{"ephemeral":1}}`:    "M_BAD_JSON",
		`{"room":{"rooms":"x"}}`:      "M_BAD_JSON",
		`{"room":{"rooms":["nope"]}}`: "M_INVALID_PARAM",
		`{"room":{"timeline":{"rooms":["not_a_room_id"]}}}`:      "M_INVALID_PARAM",
		`{"room":{"timeline":{"senders":["not_a_sender_id"]}}}`:  "M_INVALID_PARAM",
		`{"room":{"timeline":{"not_senders":"x"}}}`:              "M_BAD_JSON",
		`{"room":{"timeline":{"types":[1]}}}`:                    "M_BAD_JSON",
		`{"room":{"timeline":{"limit":"10"}}}`:                   "M_BAD_JSON",
		`{"room":{"timeline":{"limit":-1}}}`:                     "M_INVALID_PARAM",
		`{"account_data":{"not_senders":["x"]}}`:                 "M_INVALID_PARAM",
		`{"room":{"account_data":{"lazy_load_members":"true"}}}`: "M_BAD_JSON",
		`{"event_format":"xml"}`:                                 "M_INVALID_PARAM",
		`{"event_fields":"content"}`:                             "M_BAD_JSON",
	} {
		if _, err := accounts.ParseFilter([]byte(body)); matrix.Code(err) != code {
			t.Errorf("%s: %v, want %s", body, err, code)
		}
	}
	if _, err := accounts.ParseRoomEventFilter([]byte(`{"rooms":["x"]}`)); matrix.Code(err) != "M_INVALID_PARAM" {
		t.Errorf("room event filter: %v", err)
	}
}

// FuzzFilterTypes holds the matching of types against a regular expression.
func FuzzFilterTypes(f *testing.F) {
	f.Add("m.room.*", "m.room.message")
	f.Add("*a*b*", "xaxxbx")
	f.Add("**", "")
	f.Add("a*a", "a")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		expr, err := regexp.Compile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
		if err != nil || strings.ToValidUTF8(s, "") != s {
			return // a dot of the expression matches no broken bytes
		}
		filter := accounts.EventFilter{Types: []string{pattern}}
		if got, want := filter.Allows(s, "@a:hs"), expr.MatchString(s); got != want {
			t.Errorf("%q on %q: %v, want %v", pattern, s, got, want)
		}
	})
}
