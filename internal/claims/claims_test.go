package claims_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/internal/claims"
)

const somebody = `{
	"sub": "1234", "preferred_username": "Alice", "email": "alice.b@example.org", "email_verified": "true",
	"name": " Alice\u0007 \u202eB ", "empty": "", "number": 12345678901234567890, "on": true,
	"groups": ["staff", 7, {"a": "b"}], "realm": {"access": {"roles": ["chat"]}, "nick": "al"},
	"https://example.org/nick": "ally", "realm.shadow": "flat", "nothing": null
}`

func TestApply(t *testing.T) {
	c, err := claims.Read([]byte(somebody))
	if err != nil {
		t.Fatal(err)
	}
	for template, want := range map[string]string{
		"{preferred_username}":                 "Alice",
		"{preferred_username|lower}":           "alice",
		"{email|localpart}":                    "alice.b",
		"{ preferred_username | localpart }_x": "Alice_x",
		"{name}":                               "Alice B",
		"{number}":                             "12345678901234567890",
		"{realm.nick}":                         "al",
		"{realm.shadow}":                       "flat",
		"{https://example.org/nick}":           "ally",
		"fixed":                                "fixed",
		"":                                     "",
		"x-{empty}":                            "",
		"{missing}{name}":                      "",
		"{groups}":                             "",
		"{nothing}":                            "",
		"{realm.nick.deeper}":                  "",
	} {
		parsed, err := claims.Parse(template)
		if err != nil {
			t.Errorf("%q: %v", template, err)
		} else if got := parsed.Apply(c); got != want {
			t.Errorf("%q is %q, want %q", template, got, want)
		}
	}
	for _, template := range []string{"{", "}", "{a", "a}", "{}", "{a{b}}", "{a|}", "{|lower}", "{a|upper}", "{{a}}", strings.Repeat("x", 501)} {
		if _, err := claims.Parse(template); err == nil {
			t.Errorf("%.80q is a template", template)
		}
	}
}

func TestHolds(t *testing.T) {
	c, err := claims.Read([]byte(somebody))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, value string
		want        bool
	}{
		{"groups", "staff", true}, {"groups", "7", true}, {"groups", "admin", false}, {"groups", "", false},
		{"realm.access.roles", "chat", true}, {"on", "true", true}, {"preferred_username", "Alice", true},
		{"preferred_username", "alice", false}, {"missing", "", false}, {"nothing", "", false}, {"realm", "", false},
	} {
		if got := c.Holds(tt.name, tt.value); got != tt.want {
			t.Errorf("%s holds %q: %v", tt.name, tt.value, got)
		}
	}
	if !c.True("email_verified") || c.True("sub") || c.True("missing") {
		t.Error("what is true and what is not")
	}
	if !c.Has("groups") || c.Has("nothing") || c.Has("missing") {
		t.Error("what is there and what is not")
	}
	for _, raw := range []string{"", "null", "[]", `"text"`, "{"} {
		if _, err := claims.Read([]byte(raw)); err == nil {
			t.Errorf("%q are claims", raw)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"", "{a}", "{a|lower}-{b.c}", "{a|localpart|lower}", "}{", "{ a }x", "{a\x00}", "\xff{a}"} {
		f.Add(seed, `{"a":"Some@One","b":{"c":3}}`)
	}
	f.Fuzz(func(t *testing.T, text, raw string) {
		template, err := claims.Parse(text)
		if err != nil {
			return
		}
		again, err := claims.Parse(template.String())
		if err != nil || again.String() != template.String() {
			t.Fatalf("%q became %q, %v", text, template, err)
		}
		c, err := claims.Read([]byte(raw))
		if err != nil {
			return
		}
		got := template.Apply(c)
		if got != again.Apply(c) {
			t.Errorf("%q and %q differ", text, template)
		}
		if !utf8.ValidString(got) || len(got) > 1000 || strings.ContainsAny(got, "\x00\n\r") {
			t.Errorf("%q of %q is %q", text, raw, got)
		}
		for _, name := range template.Names() {
			if c.Text(name) == "" && got != "" {
				t.Errorf("%q without %q is %q", text, name, got)
			}
		}
	})
}
