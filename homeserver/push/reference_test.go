package push

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// The reference reads rules as the specification words them, one condition at
// a time, from the JSON, and tries every way that a pattern could match.

type slowEvent struct {
	all        map[string]any
	members    int64
	notify     bool
	subscribed *bool
	name       string // the reader's
}

func (e *slowEvent) at(key string) (value any, found bool) {
	path := []string{""}
	for i := 0; i < len(key); i++ {
		last := &path[len(path)-1]
		switch {
		case strings.HasPrefix(key[i:], `\.`), strings.HasPrefix(key[i:], `\\`):
			i++
			*last += key[i : i+1]
		case key[i] == '.':
			path = append(path, "")
		default:
			*last += key[i : i+1]
		}
	}
	value = e.all
	for _, name := range path {
		object, _ := value.(map[string]any)
		if value, found = object[name]; !found {
			return nil, false
		}
	}
	return value, true
}

func (e *slowEvent) holds(c map[string]any) bool {
	key, _ := c["key"].(string)
	value, found := e.at(key)
	want, given := c["value"]
	switch c["kind"] {
	case "event_match":
		pattern, ok := c["pattern"].(string)
		text, isText := value.(string)
		return ok && isText && slowMatch(key, pattern, text)
	case "event_property_is":
		return given && found && slowSame(value, want)
	case "event_property_contains":
		list, _ := value.([]any)
		for _, v := range list {
			if given && slowSame(v, want) {
				return true
			}
		}
		return false
	case "room_member_count":
		is, _ := c["is"].(string)
		n, err := strconv.ParseInt(strings.TrimLeft(is, "<>="), 10, 64)
		return err == nil && map[string]bool{
			"": e.members == n, "==": e.members == n, "<": e.members < n, ">": e.members > n, "<=": e.members <= n, ">=": e.members >= n,
		}[strings.TrimRight(is, "0123456789")]
	case "contains_display_name":
		body, _ := e.at("content.body")
		text, ok := body.(string)
		return ok && e.name != "" && slowWordsOf(text, func(part []rune) bool { return strings.EqualFold(string(part), e.name) })
	case "sender_notification_permission":
		return e.notify && key == "room"
	case "io.element.msc4306.thread_subscription":
		want, ok := c["subscribed"].(bool)
		return ok && e.subscribed != nil && *e.subscribed == want
	}
	return false
}

func slowMatch(key, pattern, text string) bool {
	if key == "content.body" {
		return slowWords([]rune(pattern), []rune(text))
	}
	return slow([]rune(pattern), []rune(text))
}

func slowWordsOf(text string, match func([]rune) bool) bool {
	runes := []rune(text)
	edge := func(i int) bool { return i == 0 || i == len(runes) || !isWord(runes[i-1]) || !isWord(runes[i]) }
	for i := range len(runes) + 1 {
		for j := i; j <= len(runes); j++ {
			if edge(i) && edge(j) && match(runes[i:j]) {
				return true
			}
		}
	}
	return false
}

// slowSame compares texts, truth values, null and whole numbers.
func slowSame(a, b any) bool {
	for _, v := range []any{a, b} {
		switch n := v.(type) {
		case map[string]any, []any:
			return false
		case float64:
			if n != float64(int64(n)) {
				return false
			}
		}
	}
	return a == b
}

func slowActions(ruleset map[string][]map[string]any, e *slowEvent, user string) string {
	if e.all["sender"] == user {
		return ""
	}
	for _, kind := range accounts.PushKinds {
		for _, rule := range ruleset[string(kind)] {
			holds := rule["enabled"] == true
			switch kind {
			case "content":
				holds = holds && e.holds(map[string]any{"kind": "event_match", "key": "content.body", "pattern": rule["pattern"]})
			case "room":
				holds = holds && rule["rule_id"] == e.all["room_id"]
			case "sender":
				holds = holds && rule["rule_id"] == e.all["sender"]
			default:
				for _, c := range rule["conditions"].([]any) {
					holds = holds && e.holds(c.(map[string]any))
				}
			}
			if holds {
				return rule["rule_id"].(string)
			}
		}
	}
	return ""
}

// A dice makes rules and events of few words, so that they often meet.
type dice struct{ *rand.Rand }

func pick[T any](d dice, list ...T) T { return list[d.IntN(len(list))] }

func (d dice) text() string {
	var words []string
	for range 1 + d.IntN(3) {
		words = append(words, pick(d, "cake", "Al.ce", "é", "A", "a_b", "@room", "", "Kk", "me"))
	}
	return strings.Join(words, pick(d, " ", "-", "", "."))
}

func (d dice) pattern() string {
	if d.IntN(8) == 0 {
		return pick(d, "me", "@me:x")
	}
	var b strings.Builder
	for range 1 + d.IntN(3) {
		b.WriteString(pick(d, "*", "?", "cake", "al", "ce", "É", "a", " ", "b", "@room", "."))
	}
	return b.String()
}

func (d dice) value() any {
	return pick[any](d, d.text(), "a", "@me:x", []any{"@me:x"}, 1, 2, 1.5, true, false, nil, []any{"a", 1, nil}, map[string]any{"a": 1})
}

func (d dice) key() string {
	return pick(d, "content.body", "content.topic", `content.a\.b`, "content.list", "content.value", "sender", "room_id", "nothing", "content", `content.a\\b`)
}

func (d dice) condition() map[string]any {
	c := map[string]any{"kind": pick(d, "event_match", "event_match", "event_property_is", "event_property_contains", "room_member_count",
		"contains_display_name", "sender_notification_permission", "io.element.msc4306.thread_subscription", "unknown")}
	put := func(name string, value any) {
		if d.IntN(12) > 0 {
			c[name] = value
		}
	}
	put("key", pick(d, d.key(), "room"))
	put("pattern", d.pattern())
	put("value", d.value())
	put("subscribed", pick(d, true, false))
	put("is", pick(d, "", "==", "<", ">", "<=", ">=", "=")+strconv.Itoa(d.IntN(4)))
	return c
}

func (d dice) ruleset() map[string][]map[string]any {
	all := map[string][]map[string]any{}
	for _, kind := range accounts.PushKinds {
		for i := range d.IntN(4) {
			rule := map[string]any{"rule_id": fmt.Sprint(kind, i), "enabled": d.IntN(5) > 0, "pattern": d.pattern(), "default": d.IntN(3) == 0}
			switch kind {
			case "room":
				rule["rule_id"] = pick(d, "!a:x", "!b:x")
			case "sender":
				rule["rule_id"] = pick(d, "@a:x", "@b:x")
			}
			conditions := []any{}
			for range d.IntN(3) {
				conditions = append(conditions, d.condition())
			}
			rule["conditions"] = conditions
			rule["actions"] = []any{"notify", map[string]any{"set_tweak": "sound", "value": rule["rule_id"]}}
			all[string(kind)] = append(all[string(kind)], rule)
		}
	}
	return all
}

func (d dice) event() map[string]any {
	return map[string]any{
		"sender": pick(d, "@a:x", "@b:x", "@me:x"), "room_id": pick(d, "!a:x", "!b:x"),
		"content": map[string]any{
			"body": d.text(), "topic": d.text(), "a.b": d.value(), "list": []any{d.value(), d.value()}, "value": d.value(), `a\b`: d.value(),
		},
	}
}

func through(t *testing.T, value, into any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The rule that decides is the one that the reference finds.
func FuzzRules(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := dice{rand.New(rand.NewPCG(seed, 1))}
		var set accounts.Ruleset
		var plain map[string][]map[string]any
		rules := through(t, d.ruleset(), &set)
		_ = json.Unmarshal(rules, &plain)
		slow := &slowEvent{members: int64(d.IntN(4)), notify: d.IntN(2) == 0, name: pick(d, "", "al.ce", "*", "CAKE")}
		raw := through(t, d.event(), &slow.all)
		event, err := NewEvent(raw)
		if err != nil {
			t.Fatal(err)
		}
		event.Members = slow.members
		event.MayNotify = func(key string) bool { return slow.notify && key == "room" }
		if d.IntN(2) == 0 {
			subscribed := d.IntN(2) == 0
			slow.subscribed = &subscribed
			event.Subscribed = func(matrix.UserID) bool { return subscribed }
		}
		got := Compile("@me:x", set).Match(event, &Reader{User: "@me:x", Name: NewName(slow.name)})
		if want := slowActions(plain, slow, "@me:x"); got.Sound != want {
			t.Errorf("rule %q, want %q, of %s for %s", got.Sound, want, rules, raw)
		}
	})
}

// manyUsers have rules of their own.
type manyUsers map[matrix.UserID]accounts.Ruleset

func (m manyUsers) PushRulesAt(_ context.Context, user matrix.UserID) (accounts.Ruleset, int64, error) {
	return m[user], 0, nil
}

// addressed is a copy of rules in which the predefined ones name another user.
func addressed(t *testing.T, set accounts.Ruleset, user matrix.UserID) accounts.Ruleset {
	var mine accounts.Ruleset
	through(t, set, &mine)
	for _, rules := range mine {
		for i := range rules {
			if r := &rules[i]; r.Default {
				r.Conditions = bytes.ReplaceAll(r.Conditions, []byte(`"@me:x"`), []byte(`"`+user+`"`))
				if r.Pattern != nil && *r.Pattern == "me" {
					name := user.Localpart()
					r.Pattern = &name
				}
			}
		}
	}
	return mine
}

// What users have in common decides for each of them as it does alone, and what
// names them as if it named just anybody.
func FuzzCommonRules(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := dice{rand.New(rand.NewPCG(seed, 2))}
		all := manyUsers{}
		var sets [3]accounts.Ruleset
		for i := range sets {
			through(t, d.ruleset(), &sets[i])
		}
		var readers []Reader
		for i := range 8 {
			r := Reader{User: matrix.UserID(fmt.Sprintf("@u%d:x", i)), Name: NewName(pick(d, "", "al.ce", "CAKE"))}
			set := accounts.Ruleset{}
			for _, kind := range accounts.PushKinds {
				set[kind] = pick(d, sets[:]...)[kind]
			}
			all[r.User], readers = addressed(t, set, r.User), append(readers, r)
		}
		var raw any
		text := bytes.ReplaceAll(through(t, d.event(), &raw), []byte("me"), []byte("u1"))
		fresh := func() *Event {
			e, err := NewEvent(text)
			if err != nil {
				t.Fatal(err)
			}
			e.Members = int64(seed % 4)
			e.Subscribed = func(user matrix.UserID) bool { return user[2]%2 == 0 }
			return e
		}
		book, shared := NewBook(all), fresh()
		for range 2 { // the second time all know what they have in common
			for _, reader := range readers {
				rules, err := book.Rules(t.Context(), reader.User)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := rules.Match(shared, &reader), Compile("@nobody:x", all[reader.User]).Match(fresh(), &reader); got.Sound != want.Sound {
					t.Errorf("%s: rule %q, alone %q, for %s", reader.User, got.Sound, want.Sound, text)
				}
			}
		}
	})
}

// A thousand rules that are made to be slow cost little, and what is behind
// them does not match.
func TestHostileRules(t *testing.T) {
	pattern := "*" + strings.Repeat("a", 200) + "b" + strings.Repeat("*a?", 90)
	list := strings.Repeat("[],", 5_000)
	for name, one := range map[string]accounts.PushRule{
		"patterns":  {Pattern: &pattern},
		"lists":     {Conditions: json.RawMessage(`[{"kind":"event_property_contains","key":"content.list","value":"x"}]`)},
		"deep keys": {Conditions: json.RawMessage(`[{"kind":"event_match","key":"content` + strings.Repeat(".a", 5_000) + `","pattern":"*"}]`)},
		"long":      {Conditions: json.RawMessage(`[` + strings.Repeat(`{"kind":"event_match","key":"content.body","pattern":"*a"},`, 5_000) + `{"kind":"x"}]`)},
	} {
		kind := accounts.PushKind("content")
		if one.Pattern == nil {
			kind = "override"
		}
		set := accounts.Ruleset{"underride": {{ID: "last", Enabled: true, Actions: json.RawMessage(`["notify"]`)}}}
		for i := range 1_000 {
			one.ID, one.Enabled, one.Actions = strconv.Itoa(i), true, json.RawMessage(`["notify"]`)
			set[kind] = append(set[kind], one)
		}
		if name == "long" {
			set[kind] = set[kind][:5]
		}
		rules := Compile("@a:x", set)
		deep := strings.Repeat(`{"a":`, 5_000) + "1" + strings.Repeat("}", 5_000)
		event, err := NewEvent(json.RawMessage(`{"sender":"@b:x","content":{"body":"` + strings.Repeat("a", 40_000) + `","list":[` + list + `1],"a":` + deep + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if rules.Match(event, &Reader{User: "@a:x"}).Notify {
			t.Errorf("%s: the rules behind are held against the event, too", name)
		}
	}
}

// BenchmarkHostile is a thousand patterns that are made to be slow.
func BenchmarkHostile(b *testing.B) {
	pattern := strings.Repeat("a", 200) + "b"
	set := accounts.Ruleset{}
	for i := range 1_000 {
		set["content"] = append(set["content"], accounts.PushRule{ID: strconv.Itoa(i), Enabled: true, Pattern: &pattern, Actions: json.RawMessage(`["notify"]`)})
	}
	rules := Compile("@a:x", set)
	for b.Loop() {
		event, err := NewEvent(json.RawMessage(`{"sender":"@b:x","content":{"body":"` + strings.Repeat("a", 60_000) + `"}}`))
		if err != nil {
			b.Fatal(err)
		}
		rules.Match(event, &Reader{User: "@a:x"})
	}
}
