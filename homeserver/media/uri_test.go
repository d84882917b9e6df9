package media_test

import (
	"strings"
	"testing"

	"trestle/homeserver/media"
)

func TestParseURI(t *testing.T) {
	for text, want := range map[string]media.URI{
		"mxc://hs.example/abc":                {Server: "hs.example", ID: "abc"},
		"mxc://hs.example:8448/Aa0_-":         {Server: "hs.example:8448", ID: "Aa0_-"},
		"mxc://[::1]:8448/x":                  {Server: "[::1]:8448", ID: "x"},
		"mxc://hs.example/":                   {},
		"mxc://hs.example":                    {},
		"mxc:///abc":                          {},
		"mxc://127.0.0.1/../../etc":           {},
		"mxc://hs.example/a/b":                {},
		"mxc://hs.example/%2e":                {},
		"mxc://hs.example/a?b":                {},
		"https://hs.example/abc":              {},
		"MXC://hs.example/abc":                {},
		"mxc://h s/abc":                       {},
		"":                                    {},
		"mxc://h/" + strings.Repeat("a", 256): {},
	} {
		got, err := media.ParseURI(text)
		if got != want || (err == nil) != (want != media.URI{}) {
			t.Errorf("%.80q: %+v, %v", text, got, err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("mxc://hs.example/abc")
	f.Add("mxc://[::1]:1/a_-")
	f.Add("mxc://hs.example/../x")
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := media.ParseURI(text)
		if err != nil {
			return
		}
		if uri.String() != text {
			t.Errorf("%q becomes %q", text, uri)
		}
		if strings.ContainsAny(uri.ID, "/.%\x00\\") {
			t.Errorf("the ID is %q", uri.ID)
		}
	})
}
