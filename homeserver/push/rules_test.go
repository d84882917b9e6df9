package push_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/push"
	"trestle/internal/matrix"
)

// predefined is the rules that every user begins with.
func predefined(t testing.TB) accounts.Ruleset {
	t.Helper()
	raw, err := os.ReadFile("../clientapi/testdata/pushrules.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Global accounts.Ruleset `json:"global"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	return all.Global
}

func ruleset(t *testing.T, raw string) *push.Rules {
	t.Helper()
	set := accounts.Ruleset{}
	if err := json.Unmarshal([]byte(raw), &set); err != nil {
		t.Fatal(err)
	}
	return push.Compile("@alice:hs.example", set)
}

func event(t testing.TB, raw string, members int64) *push.Event {
	t.Helper()
	e, err := push.NewEvent(json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	e.Members = members
	e.MayNotify = func(key string) bool { return key == "room" && e.Sender == "@mod:hs.example" }
	return e
}

// What the predefined rules make of events that happen every day.
func TestPredefinedRules(t *testing.T) {
	rules := push.Compile("@alice:hs.example", predefined(t))
	reader := &push.Reader{User: "@alice:hs.example"}
	const bob, mod = `"sender":"@bob:hs.example",`, `"sender":"@mod:hs.example",`
	for _, c := range []struct {
		name, event string
		members     int64
		want        string
	}{
		{"message", bob + `"type":"m.room.message","content":{"body":"x"}`, 3, "notify"},
		{"encrypted", bob + `"type":"m.room.encrypted","content":{}`, 3, "notify"},
		{"in a room of two", bob + `"type":"m.room.message","content":{"body":"x"}`, 2, "notify default"},
		{"call", bob + `"type":"m.call.invite","content":{}`, 3, "notify ring"},
		{"notice", bob + `"type":"m.room.message","content":{"msgtype":"m.notice"}`, 2, ""},
		{"one's own", `"sender":"@alice:hs.example","type":"m.room.message","content":{}`, 2, ""},
		{"mention", bob + `"type":"m.x","content":{"m.mentions":{"user_ids":["@c:d",7,"@alice:hs.example"]}}`, 3, "notify highlight default"},
		{"mention of another", bob + `"type":"m.x","content":{"m.mentions":{"user_ids":["@c:d"]}}`, 3, ""},
		{"mention in an edit", bob + `"type":"m.room.message","content":{"m.mentions":{"user_ids":["@alice:hs.example"]},"m.relates_to":{"rel_type":"m.replace"}}`, 3, "notify highlight default"},
		{"edit", bob + `"type":"m.room.message","content":{"m.relates_to":{"rel_type":"m.replace"}}`, 3, ""},
		{"room mention", mod + `"type":"m.x","content":{"m.mentions":{"room":true}}`, 3, "notify highlight"},
		{"room mention without power", bob + `"type":"m.x","content":{"m.mentions":{"room":true}}`, 3, ""},
		{"room mention that is a string", mod + `"type":"m.x","content":{"m.mentions":{"room":"true"}}`, 3, ""},
		{"tombstone", bob + `"type":"m.room.tombstone","state_key":"","content":{}`, 3, "notify highlight"},
		{"tombstone that is no state", bob + `"type":"m.room.tombstone","content":{}`, 3, ""},
		{"invite", bob + `"type":"m.room.member","state_key":"@alice:hs.example","content":{"membership":"invite"}`, 2, "notify default"},
		{"invite of another", bob + `"type":"m.room.member","state_key":"@c:d","content":{"membership":"invite"}`, 2, ""},
		{"poll of two", bob + `"type":"org.matrix.msc3381.poll.start","content":{}`, 2, "notify default"},
		{"end of a poll", bob + `"type":"org.matrix.msc3381.poll.end","content":{}`, 3, "notify"},
		{"vote", bob + `"type":"org.matrix.msc3381.poll.response","content":{}`, 2, ""},
		{"reaction", bob + `"type":"m.reaction","content":{}`, 2, ""},
	} {
		if got := said(rules.Match(event(t, "{"+c.event+"}", c.members), reader)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func said(a push.Actions) string {
	if !a.Notify {
		return ""
	}
	said := "notify"
	if a.Highlight {
		said += " highlight"
	}
	if a.Sound != "" {
		said += " " + a.Sound
	}
	return said
}

// Every condition, matched and not.
func TestConditions(t *testing.T) {
	const message = `{"type":"m.room.message","sender":"@bob:hs.example","room_id":"!r:hs.example","content":{
		"body":"An exciting triple-whammy for Al.ce @home","topic":"Lunch plans","m.x":{"a\\b":1,"":[1,"two",null,true,[3],1.5]},
		"none":null,"big":9007199254740992,"half":1.5}}`
	for condition, want := range map[string]bool{
		`{"kind":"event_match","key":"content.topic","pattern":"lunc?*"}`:                         true,
		`{"kind":"event_match","key":"content.topic","pattern":"lunch"}`:                          false,
		`{"kind":"event_match","key":"content.nothing","pattern":"*"}`:                            false,
		`{"kind":"event_match","key":"content.none","pattern":"*"}`:                               false,
		`{"kind":"event_match","key":"content.topic"}`:                                            false,
		`{"kind":"event_match","key":"content.body","pattern":"ex*ple"}`:                          true,
		`{"kind":"event_match","key":"content.body","pattern":"rip"}`:                             false,
		`{"kind":"event_match","key":"content.body","pattern":"WHAMMY"}`:                          true,
		`{"kind":"event_match","key":"content.body","pattern":"@home"}`:                           true,
		`{"kind":"event_property_is","key":"content.m\\.x.a\\\\b","value":1}`:                     true,
		`{"kind":"event_property_is","key":"content.m\\.x.a\\\\b","value":"1"}`:                   false,
		`{"kind":"event_property_is","key":"content.none","value":null}`:                          true,
		`{"kind":"event_property_is","key":"content.none"}`:                                       false,
		`{"kind":"event_property_is","key":"content.missing","value":null}`:                       false,
		`{"kind":"event_property_is","key":"content.big","value":9007199254740992}`:               false,
		`{"kind":"event_property_is","key":"content.half","value":1.5}`:                           false,
		`{"kind":"event_property_contains","key":"content.m\\.x.","value":"two"}`:                 true,
		`{"kind":"event_property_contains","key":"content.m\\.x.","value":null}`:                  true,
		`{"kind":"event_property_contains","key":"content.m\\.x.","value":3}`:                     false,
		`{"kind":"event_property_contains","key":"content.m\\.x.","value":1.5}`:                   false,
		`{"kind":"event_property_contains","key":"content.topic","value":"Lunch plans"}`:          false,
		`{"kind":"room_member_count","is":"5"}`:                                                   true,
		`{"kind":"room_member_count","is":"==5"}`:                                                 true,
		`{"kind":"room_member_count","is":">5"}`:                                                  false,
		`{"kind":"room_member_count","is":">=5"}`:                                                 true,
		`{"kind":"room_member_count","is":"<5"}`:                                                  false,
		`{"kind":"room_member_count","is":"<=5"}`:                                                 true,
		`{"kind":"room_member_count","is":"=5"}`:                                                  false,
		`{"kind":"room_member_count","is":"+5"}`:                                                  false,
		`{"kind":"room_member_count"}`:                                                            false,
		`{"kind":"contains_display_name"}`:                                                        true,
		`{"kind":"sender_notification_permission","key":"room"}`:                                  false,
		`{"kind":"org.example.unknown"}`:                                                          false,
		`"no object"`:                                                                             false,
		`{"kind":"event_match","key":"type","pattern":"*"},{"kind":"room_member_count","is":"1"}`: false,
	} {
		rules := ruleset(t, `{"override":[{"rule_id":"x","enabled":true,"conditions":[`+condition+`],"actions":["notify"]}]}`)
		got := rules.Match(event(t, message, 5), &push.Reader{User: "@alice:hs.example", Name: push.NewName("al.CE")})
		if got.Notify != want {
			t.Errorf("%s: %v", condition, got.Notify)
		}
	}
}

// A display name is text: its stars and question marks are themselves.
func TestDisplayNameIsNoPattern(t *testing.T) {
	rules := ruleset(t, `{"override":[{"rule_id":"x","enabled":true,"conditions":[{"kind":"contains_display_name"}],"actions":["notify"]}]}`)
	for name, want := range map[string]bool{"*": false, "b?b": false, "bob": true, "": false} {
		e := event(t, `{"sender":"@bob:hs.example","content":{"body":"hello bob"}}`, 2)
		if got := rules.Match(e, &push.Reader{User: "@alice:hs.example", Name: push.NewName(name)}).Notify; got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// The kinds go from the most important one; what is disabled is not there.
func TestOrderOfKinds(t *testing.T) {
	const all = `{
		"underride":[{"rule_id":"u","enabled":true,"actions":["notify"]}],
		"sender":[{"rule_id":"@bob:hs.example","enabled":true,"actions":["notify",{"set_tweak":"sound","value":"sender"}]}],
		"room":[{"rule_id":"!r:hs.example","enabled":true,"actions":["dont_notify"]}],
		"content":[{"rule_id":"c","enabled":true,"pattern":"cake","actions":["notify",{"set_tweak":"highlight","value":false}]},
			{"rule_id":"broken","enabled":true,"actions":["notify"]}],
		"override":[{"rule_id":"o","enabled":false,"actions":["notify",{"set_tweak":"highlight"}]}]}`
	rules := ruleset(t, all)
	for raw, want := range map[string]string{
		`{"sender":"@bob:hs.example","room_id":"!r:hs.example","content":{"body":"a Cake!"}}`: "notify",
		`{"sender":"@bob:hs.example","room_id":"!r:hs.example","content":{"body":"cakes"}}`:   "",
		`{"sender":"@bob:hs.example","room_id":"!s:hs.example","content":{}}`:                 "notify sender",
		`{"sender":"@carl:hs.example","room_id":"!s:hs.example","content":{}}`:                "notify",
	} {
		if got := said(rules.Match(event(t, raw, 2), &push.Reader{User: "@alice:hs.example"})); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

// What predefined rules say of the user is of whoever they are held for.
func TestRulesOfTheReader(t *testing.T) {
	const mention = `{"type":"m.room.message","sender":"@bob:hs","content":{"body":"x","m.mentions":{"user_ids":["@al*ce:hs","@carol:hs"]}}}`
	const invite = `{"type":"m.room.member","sender":"@bob:hs","state_key":"@CAROL:hs","content":{"membership":"invite"}}`
	const name = `{"type":"m.room.message","sender":"@bob:hs","content":{"body":"hey, Carol!"}}`
	book := push.NewBook(namesakes{})
	for raw, want := range map[string]string{mention: "@al*ce:hs @carol:hs", invite: "@carol:hs", name: "@carol:hs"} {
		e := event(t, raw, 3)
		var told []string
		for _, user := range []matrix.UserID{"@al*ce:hs", "@alice:hs", "@carol:hs", "@caro:hs"} {
			rules, err := book.Rules(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			if rules.Match(e, &push.Reader{User: user}).Highlight {
				told = append(told, string(user))
			}
		}
		if got := strings.Join(told, " "); got != want {
			t.Errorf("%s is for %s, want %s", raw, got, want)
		}
	}
}

// namesakes is rules about their users, as they are made for each of them.
type namesakes struct{}

func (namesakes) PushRulesAt(_ context.Context, user matrix.UserID) (set accounts.Ruleset, _ int64, err error) {
	err = json.Unmarshal(fmt.Appendf(nil, `{
		"override":[
			{"rule_id":".m.rule.is_user_mention","default":true,"enabled":true,"actions":["notify",{"set_tweak":"highlight"}],
				"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","value":%[1]q}]},
			{"rule_id":".m.rule.invite_for_me","default":true,"enabled":true,"actions":["notify",{"set_tweak":"highlight"}],
				"conditions":[{"kind":"event_match","key":"state_key","pattern":%[1]q}]}],
		"content":[{"rule_id":".m.rule.contains_user_name","default":true,"enabled":true,"actions":["notify",{"set_tweak":"highlight"}],"pattern":%[2]q}]
	}`, user, user.Localpart()), &set)
	return set, 0, err
}

// Five thousand members with the predefined rules are what a busy room costs.
func BenchmarkMatch(b *testing.B) {
	rules := push.Compile("@alice:hs.example", predefined(b))
	e := event(b, `{"type":"m.room.message","sender":"@bob:hs.example","content":{"msgtype":"m.text","body":"hello"}}`, 5000)
	for b.Loop() {
		rules.Match(e, &push.Reader{User: "@alice:hs.example"})
	}
}
