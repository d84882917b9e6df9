package clientapi_test

import (
	"context"
	"io"
	"log/slog"
	"mime"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"trestle/homeserver/media"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func TestMediaDisposition(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	for _, c := range []struct{ kind, name, want string }{
		{"image/png", "", "inline"},
		{"image/png", "plain.png", `inline; filename="plain.png"`},
		{"Text/Plain; charset=utf-8", "a;b.txt", `inline; filename="a;b.txt"`},
		{"image/svg+xml", "x.svg", `attachment; filename="x.svg"`},
		{"text/html", "", "attachment"},
		{"application/pdf", "", "attachment"},
		{"image/png; charset=\"", "", "inline"},
		{"nonsense", "", "attachment"},
		{"image/png, text/html", "", "attachment"},
		{"image/png", "🐔.png", `inline; filename="_.png"; filename*=UTF-8''%F0%9F%90%94.png`},
		{"image/png", "\"quoted\".png", `inline; filename="_quoted_.png"; filename*=UTF-8''%22quoted%22.png`},
		{"image/png", "100%41.png", `inline; filename="100_41.png"; filename*=UTF-8''100%2541.png`},
		{"image/png", "a\r\nSet-Cookie: x=y", `inline; filename="a__Set-Cookie: x=y"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x%3Dy`},
		{"image/png", "../../etc/passwd", `inline; filename="../../etc/passwd"`},
		{"image/png", `..\..\boot.ini`, `inline; filename=".._.._boot.ini"; filename*=UTF-8''..%5C..%5Cboot.ini`},
	} {
		id := s.upload([]byte("content"), c.kind, "?filename="+url.QueryEscape(c.name))
		paths := []string{downloads + id}
		if c.name != "" { // the same name, asked for in the path
			paths = append(paths, downloads+s.upload([]byte("content"), c.kind, "?filename=other")+"/"+url.PathEscape(c.name))
		}
		for _, path := range paths {
			r := s.get(path)
			if got := r.header.Get("Content-Disposition"); got != c.want {
				t.Errorf("%s %q at %s: %s, want %s", c.kind, c.name, path, got, c.want)
			}
			if _, params, err := mime.ParseMediaType(r.header.Get("Content-Disposition")); err != nil || params["filename"] != c.name {
				t.Errorf("%q arrives as %q, %v", c.name, params["filename"], err)
			}
			if r.header.Get("Set-Cookie") != "" {
				t.Errorf("%q made a header", c.name)
			}
		}
	}
	if files := s.files(); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
	// What cannot be a content type does not stay one.
	if r := s.get(downloads + s.upload(nil, "nonsense", "")); r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("content type: %v", r.header)
	}
}

func TestMediaRanges(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	path := downloads + s.upload([]byte("0123456789"), "text/plain", "")
	etag := s.get(path).header.Get("ETag")
	for _, c := range []struct {
		header, body, contentRange string
		status                     int
	}{
		{"Range: bytes=2-4", "234", "bytes 2-4/10", 206},
		{"Range: bytes=-3", "789", "bytes 7-9/10", 206},
		{"Range: bytes=8-", "89", "bytes 8-9/10", 206},
		{"Range: bytes=5-99", "56789", "bytes 5-9/10", 206},
		{"If-None-Match: " + etag, "", "", 304},
		{`If-None-Match: "other"`, "0123456789", "", 200},
		{"If-Match: " + etag, "0123456789", "", 200},
		{`If-Match: "other"`, "", "", 412},
	} {
		r := s.by(s.plain, "GET", path, "bob", nil, c.header)
		if r.status != c.status || string(r.body) != c.body || r.header.Get("Content-Range") != c.contentRange {
			t.Errorf("%s: %d %q %v", c.header, r.status, r.body, r.header)
		}
	}
	if r := s.by(s.plain, "GET", path, "bob", nil, "Range: bytes=2-4", `If-Range: "other"`); r.status != 200 || len(r.body) != 10 {
		t.Errorf("If-Range: %d %q", r.status, r.body)
	}
	r := s.by(s.plain, "GET", path, "bob", nil, "Range: bytes=10-")
	if r.status != 416 || r.field("errcode") != "M_UNKNOWN" || r.header.Get("Content-Range") != "bytes */10" ||
		r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "" || r.header.Get("ETag") != "" {
		t.Errorf("a range outside: %d %s %v", r.status, r.body, r.header)
	}
	if r := s.by(s.plain, "HEAD", path, "bob", nil); r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") != "10" || r.header.Get("ETag") != etag {
		t.Errorf("HEAD: %d %v", r.status, r.header)
	}
}

func TestMediaNotFound(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	id := s.upload([]byte("x"), "text/plain", "")
	s.refused("GET", downloads+id, "", nil, 401, "M_MISSING_TOKEN")
	s.refused("GET", thumbnails+id+"?width=1&height=1", "", nil, 401, "M_MISSING_TOKEN")
	s.refused("GET", downloads+"hs.example/unknown", "bob", nil, 404, "M_NOT_FOUND")
	s.refused("GET", downloads+"other.example/unknown", "bob", nil, 404, "M_NOT_FOUND")
	for _, path := range []string{"hs.example/..", "hs.example/%2e%2e%2f%2e%2e%2fmedia", "hs.example/a.b", "hs.example/a%00", "hs.example/%C3%A4", "hs.example/" + strings.Repeat("a", 256)} {
		s.refused("GET", downloads+path, "bob", nil, 400, "M_INVALID_PARAM")
	}
	for _, path := range []string{"..%2f..%2fetc/passwd", "hs_example/x", "hs.example:99999/x"} {
		s.refused("GET", downloads+path, "bob", nil, 400, "M_INVALID_PARAM")
	}
	if r := s.do("GET", downloads+id, "guest", nil); r.status != 200 {
		t.Errorf("a guest: %d %s", r.status, r.body)
	}
	// The path of the specification has a space where a plus is a plus.
	if r := s.get(downloads + id + "/a+b%20c"); r.header.Get("Content-Disposition") != `inline; filename="a+b c"` {
		t.Errorf("%v", r.header)
	}
}

// A file that is gone is not found, and the operator is told.
func TestMediaFileGone(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db", func(o *media.Options) { o.Log = quiet() })
	id := s.upload([]byte("x"), "text/plain", "")
	for _, file := range s.files() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	s.refused("GET", downloads+id, "bob", nil, 404, "M_NOT_FOUND")
	s.refused("GET", thumbnails+id+"?width=1&height=1", "bob", nil, 404, "M_NOT_FOUND")
	if again := s.upload([]byte("x"), "text/plain", ""); string(s.get(downloads+id).body) != "x" {
		t.Errorf("uploaded again as %s, and still gone", again)
	}
}

// The endpoints without authentication are frozen: what came before the freeze
// is served there, what came later is not.
func TestMediaFrozen(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url, open)
		before := s.upload(testPNG(8, 8), "image/png", "?filename=p.png")
		for _, prefix := range []string{"/_matrix/media/v3", "/_matrix/media/r0", "/_matrix/media/v1"} {
			client := s.plain
			if strings.HasSuffix(prefix, "v3") {
				client = s.http
			}
			for _, path := range []string{prefix + "/download/" + before, prefix + "/download/" + before + "/p.png", prefix + "/download/" + before + "?allow_remote=false&allow_redirect=true"} {
				r := s.by(client, "GET", path, "", nil)
				if r.status != 200 || r.header.Get("Content-Disposition") != `inline; filename="p.png"` || r.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
					t.Errorf("%s: %d %s %v", path, r.status, r.body, r.header)
				}
			}
			if r := s.by(client, "GET", prefix+"/thumbnail/"+before+"?width=4&height=4&method=scale", "", nil); r.status != 200 {
				t.Errorf("%s: %d %s", prefix, r.status, r.body)
			}
		}
		s.refused("GET", oldDownloads+s.create("alice")+"?timeout_ms=1", "", nil, 504, "M_NOT_YET_UPLOADED")

		frozen := newMediaServer(t, url)
		after := frozen.upload(testPNG(8, 8), "image/png", "")
		frozen.refused("GET", oldDownloads+after, "", nil, 404, "M_NOT_FOUND")
		frozen.refused("GET", oldDownloads+after+"/x", "", nil, 404, "M_NOT_FOUND")
		frozen.refused("GET", "/_matrix/media/v3/thumbnail/"+after+"?width=1&height=1", "", nil, 404, "M_NOT_FOUND")
		frozen.refused("GET", oldDownloads+after, "alice", nil, 404, "M_NOT_FOUND")
		// Nobody waits for what will not be served, but it is said all the same.
		frozen.refused("GET", oldDownloads+frozen.create("alice"), "", nil, 504, "M_NOT_YET_UPLOADED")
		frozen.get(downloads + after)
		// It had another folder when it came; but its entry says that it is open.
		copyFolder(t, s.folder, frozen.folder)
		if r := frozen.do("GET", oldDownloads+before, "", nil); r.status != 200 {
			t.Errorf("from before the freeze: %d %s", r.status, r.body)
		}
	})
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// elsewhere is another server's media.
type elsewhere struct {
	content map[string]string
	asked   []string
}

func (e *elsewhere) Download(_ context.Context, uri media.URI) (*media.Download, error) {
	e.asked = append(e.asked, uri.String())
	content, ok := e.content[uri.ID]
	if !ok {
		return nil, matrix.NotFound("There is no such media.")
	}
	if content == "broken" {
		return &media.Download{Body: io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))}, nil
	}
	return &media.Download{ContentType: "text/plain", FileName: "far.txt", Body: io.NopCloser(strings.NewReader(content))}, nil
}

func TestMediaRemote(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		there := &elsewhere{content: map[string]string{"a": "far away", "large": strings.Repeat("x", mediaMaxUpload+1), "broken": "broken"}}
		s := newMediaServer(t, url, open, func(o *media.Options) { o.Remote, o.Log = there, quiet() })
		s.refused("GET", oldDownloads+"far.example/a?allow_remote=false", "", nil, 404, "M_NOT_FOUND")
		for range 2 {
			if r := s.get(downloads + "far.example/a"); string(r.body) != "far away" || r.header.Get("Content-Disposition") != `inline; filename="far.txt"` {
				t.Errorf("%q %v", r.body, r.header)
			}
		}
		if r := s.do("GET", oldDownloads+"far.example/a?allow_remote=false", "", nil); r.status != 200 {
			t.Errorf("what is here already: %d %s", r.status, r.body)
		}
		s.refused("GET", downloads+"far.example/large", "bob", nil, 502, "M_TOO_LARGE")
		s.refused("GET", downloads+"far.example/broken", "bob", nil, 502, "M_UNKNOWN")
		s.refused("GET", downloads+"far.example/unknown", "bob", nil, 404, "M_NOT_FOUND")
		if want := []string{"mxc://far.example/a", "mxc://far.example/large", "mxc://far.example/broken", "mxc://far.example/unknown"}; !slices.Equal(there.asked, want) {
			t.Errorf("asked for %q", there.asked)
		}
		frozen := newMediaServer(t, url, func(o *media.Options) { o.Remote = there })
		there.asked = nil
		frozen.refused("GET", oldDownloads+"far.example/new", "", nil, 404, "M_NOT_FOUND")
		if len(there.asked) > 0 {
			t.Errorf("without authentication it asked for %q", there.asked)
		}
	})
}
