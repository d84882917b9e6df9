package preview_test

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/homeserver/media/preview"
)

var base = &url.URL{Scheme: "https", Host: "example.org", Path: "/a/b"}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		document, kind string
		want           map[string]string
		images         []string
	}{
		"open graph": {
			document: `<meta property="og:title" content=" A  title "><meta property="og:title" content="Another">
				<meta property="og:image" content="x.png"><meta property="og:image:width" content="9"><title>T</title>`,
			want: map[string]string{"og:title": "A title"}, images: []string{"https://example.org/a/x.png"},
		},
		"twitter cards": {
			document: `<meta name="twitter:title" content="T"><meta name="twitter:description" content="D"><meta name="twitter:image" content="//cdn.example/i">`,
			want:     map[string]string{"og:title": "T", "og:description": "D"}, images: []string{"https://cdn.example/i"},
		},
		"nothing but text": {
			document: `<title>T &amp; U</title><script>p</script><style>x</style><h1>H</h1><p>First <b>bold</b></p><p>Second<script>alert("<p>no")</script>`,
			want:     map[string]string{"og:title": "T & U", "og:description": "First bold Second"},
		},
		"a heading for a title": {document: `<h1>H</h1><h1>I</h1>`, want: map[string]string{"og:title": "H"}},
		"description":           {document: `<META NAME=Description CONTENT=D>`, want: map[string]string{"og:description": "D"}},
		"declared in the document": {
			document: "<meta charset=windows-1251><title>\xcf\xf0\xe8\xe2\xe5\xf2</title>", want: map[string]string{"og:title": "Привет"},
		},
		"not to be fetched": {
			document: `<meta property=og:image content="data:image/png;base64,AAAA"><link rel="apple-touch-icon" href="javascript:x"><link rel=image_src href=/i#f>`,
			want:     map[string]string{}, images: []string{"https://example.org/i"},
		},
		"not closed": {document: `<title>A`, want: map[string]string{"og:title": "A"}},
	} {
		kind := c.kind
		if kind == "" {
			kind = "text/html"
		}
		page := preview.Parse(strings.NewReader(c.document), kind, base)
		if !maps.Equal(page.Properties, c.want) || !slices.Equal(page.Images, c.images) {
			t.Errorf("%s: %q %q", name, page.Properties, page.Images)
		}
	}
}

// Whatever a page holds, the answer is small, valid UTF-8, and leads to the web only.
func FuzzParse(f *testing.F) {
	f.Add(`<meta property="og:title" content="A"><meta property="og:image" content="x.png"><title>T</title><p>x`, "text/html")
	f.Add("<title>\xff\xfe", "text/html; charset=utf-16")
	f.Add(`<meta charset=iso-2022-jp><p>`, "text/html; charset=\x00")
	f.Fuzz(func(t *testing.T, document, kind string) {
		page := preview.Parse(strings.NewReader(document), kind, base)
		if len(page.Properties) > 80 || len(page.Images) > 4 {
			t.Errorf("%d properties, %d images", len(page.Properties), len(page.Images))
		}
		for name, value := range page.Properties {
			if !strings.HasPrefix(name, "og:") || len(name) > 100 || len(value) > 1024 || value == "" || !utf8.ValidString(name+value) || strings.ContainsAny(name+value, "\x00\n") {
				t.Errorf("%q: %q", name, value)
			}
		}
		for _, image := range page.Images {
			if u, err := url.Parse(image); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				t.Errorf("%q", image)
			}
		}
	})
}
