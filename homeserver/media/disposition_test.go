package media_test

import (
	"mime"
	"strings"
	"testing"

	"trestle/homeserver/media"
)

// The list of Client-Server API § Serving inline content, and some that are
// not on it.
func TestDisposition(t *testing.T) {
	for _, kind := range []string{
		"text/css", "text/plain", "text/csv", "application/json", "application/ld+json", "image/jpeg", "image/gif",
		"image/png", "image/apng", "image/webp", "image/avif", "video/mp4", "video/webm", "video/ogg", "video/quicktime",
		"audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav", "audio/x-wav",
		"audio/x-pn-wav", "audio/flac", "audio/x-flac", "Text/Plain; charset=utf-8", "IMAGE/PNG",
	} {
		if got := media.Disposition(kind, ""); got != "inline" {
			t.Errorf("%s is %s", kind, got)
		}
	}
	for _, kind := range []string{
		"", "text/html", "text/html; image/png", "image/svg+xml", "image/svg", "text/xml", "application/xhtml+xml",
		"application/pdf", "application/javascript", "text/javascript", "application/octet-stream", "image/png, text/html",
		"image/png/x", "image/png text/html",
	} {
		if got := media.Disposition(kind, ""); got != "attachment" {
			t.Errorf("%q is %s", kind, got)
		}
	}
}

// No name breaks out of the header, and every name arrives as it was.
func FuzzDisposition(f *testing.F) {
	for _, name := range []string{
		"", "a.png", "a b.png", `a"b\c`, "a;b=c", "100%41", "🐔", "\r\nSet-Cookie: x", "\xff\xfe", "../x", "''", "=?utf-8?q?x?=", "a\x00b", " x ", "\u202egpj.exe", "a'b*c",
	} {
		f.Add("image/png", name)
		f.Add("text/html", name)
	}
	f.Fuzz(func(t *testing.T, kind, name string) {
		got := media.Disposition(kind, name)
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q has %q", got, c)
			}
		}
		disposition, params, err := mime.ParseMediaType(got)
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		parsed, _, err := mime.ParseMediaType(kind)
		if disposition == "inline" && (err != nil || strings.Contains(parsed, "html") || strings.Contains(parsed, "svg")) {
			t.Errorf("%q is %s", kind, got)
		}
		if want := strings.ToValidUTF8(name, "\uFFFD"); params["filename"] != want {
			t.Errorf("%q arrives as %q by %s", want, params["filename"], got)
		}
		if name == "" && got != disposition {
			t.Errorf("no name makes %s", got)
		}
	})
}
