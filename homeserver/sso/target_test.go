package sso

import (
	"net/url"
	"strings"
	"testing"
)

func TestWithLoginToken(t *testing.T) {
	for address, want := range map[string]string{
		"https://a.example":                                   "https://a.example?loginToken=T%2B",
		"https://a.example/?x=1&y=%20#/home?a=b":              "https://a.example/?x=1&y=%20&loginToken=T%2B#/home?a=b",
		"https://a.example/?loginToken=a&x=1&login%54oken=b&": "https://a.example/?x=1&loginToken=T%2B",
		"element://connect":                                   "element://connect?loginToken=T%2B",
		"element:connect?x":                                   "element:connect?x&loginToken=T%2B",
	} {
		u, err := parseTarget(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := withLoginToken(u, "T+"); got != want {
			t.Errorf("%s became %s, want %s", address, got, want)
		}
	}
}

func TestSuggestion(t *testing.T) {
	for text, want := range map[string]string{
		"Alice": "alice", "Jürgen Müller": "jurgen_muller", "a@b.example": "ab.example", "Ⅳ": "iv", "名前": "", "": "", "a\x00\u202eb": "ab",
	} {
		if got := suggestion(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// Whatever is taken for an address of a client stays that of the same client
// with a token, and nothing that runs is one.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"https://a.example/b?c=d#e", "element://x", "javascript:alert(1)", "//a", "https://a\\@b", "x:y?loginToken=1", "http:///a", "https://[::1]:80/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if localPath(address) {
			u, err := url.Parse("https://hs.example/deep/er")
			if err != nil {
				t.Fatal(err)
			}
			to, err := u.Parse(address)
			if err != nil || to.Host != "hs.example" || to.Scheme != "https" {
				t.Errorf("%q leads to %v", address, to)
			}
		}
		u, err := parseTarget(address)
		if err != nil {
			return
		}
		with, err := url.Parse(withLoginToken(u, "T"))
		if err != nil || with.Scheme != u.Scheme || with.Host != u.Host || with.Opaque != u.Opaque || with.Path != u.Path || with.Fragment != u.Fragment {
			t.Fatalf("%q became %v, %v", address, with, err)
		}
		if last := with.RawQuery[strings.LastIndexByte(with.RawQuery, '&')+1:]; last != "loginToken=T" {
			t.Errorf("%q became %s", address, with)
		}
		if u.Scheme == "javascript" || u.Scheme == "data" || strings.ContainsAny(address, "\n\r\\ ") {
			t.Errorf("%q is an address", address)
		}
	})
}
