package clientapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"trestle/homeserver/media"
	"trestle/internal/testkit"
)

func TestMediaUpload(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url)
		content := testPNG(10, 10)
		id := s.upload(content, "image/png", "?filename=a%20b.png")
		if !regexp.MustCompile(`^hs\.example/[A-Za-z0-9_-]{24,}$`).MatchString(id) {
			t.Errorf("the ID is %s", id)
		}
		r := s.get(downloads + id)
		if !bytes.Equal(r.body, content) {
			t.Errorf("%d bytes went in, %d came out", len(content), len(r.body))
		}
		for name, want := range map[string]string{
			"Content-Type": "image/png", "Content-Length": fmt.Sprint(len(content)),
			"Content-Disposition":          `inline; filename="a b.png"`,
			"Content-Security-Policy":      "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';",
			"Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*",
			"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		// The same bytes again are another ID and the same file.
		again := s.upload(content, "text/html", "")
		if again == id {
			t.Errorf("two uploads are %s", id)
		}
		if r := s.get(downloads + again); !bytes.Equal(r.body, content) || r.header.Get("Content-Disposition") != "attachment" || r.header.Get("Content-Type") != "text/html" {
			t.Errorf("the second upload: %v", r.header)
		}
		if files := s.files(); len(files) != 1 {
			t.Errorf("files: %q", files)
		}
		if r := s.get(downloads + s.upload(nil, "text/plain", "")); len(r.body) != 0 || r.header.Get("Content-Type") != "text/plain" {
			t.Errorf("an empty file: %q %v", r.body, r.header)
		}
		// The first paths of the old API.
		old := s.by(s.plain, "POST", "/_matrix/media/v1/upload?access_token=alice", "", strings.NewReader("old"))
		if r := s.get(downloads + strings.TrimPrefix(old.field("content_uri"), "mxc://")); string(r.body) != "old" || r.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("an upload without a type: %q %v", r.body, r.header)
		}
	})
}

// files are all files in the media folder.
func (s *mediaServer) files() []string {
	s.t.Helper()
	var files []string
	err := filepath.WalkDir(s.folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

func TestMediaUploadRefused(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	const upload = "/_matrix/media/v3/upload"
	s.refused("POST", upload, "", strings.NewReader("x"), 401, "M_MISSING_TOKEN")
	s.refused("POST", upload, "guest", strings.NewReader("x"), 403, "M_GUEST_ACCESS_FORBIDDEN")
	s.refused("POST", upload+"?filename=a%00b", "alice", strings.NewReader("x"), 400, "M_INVALID_PARAM")
	s.refused("POST", upload+"?filename=%ff", "alice", strings.NewReader("x"), 400, "M_INVALID_PARAM")
	s.refused("POST", upload+"?filename="+strings.Repeat("a", 1025), "alice", strings.NewReader("x"), 400, "M_INVALID_PARAM")
	s.refused("GET", upload, "alice", nil, 405, "M_UNRECOGNIZED")
	s.upload(bytes.Repeat([]byte("x"), mediaMaxUpload), "text/plain", "")
	large := bytes.Repeat([]byte("x"), mediaMaxUpload+1)
	s.refused("POST", upload, "alice", bytes.NewReader(large), 413, "M_TOO_LARGE")
	// Nobody says how long it is.
	s.refused("POST", upload, "alice", io.MultiReader(bytes.NewReader(large)), 413, "M_TOO_LARGE")
	if files := s.files(); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
}

// A user has so many bytes here and not more, whatever way they come.
func TestMediaQuota(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url, func(o *media.Options) { o.MaxPerUser = 100 })
		const upload = "/_matrix/media/v3/upload"
		s.upload(bytes.Repeat([]byte("x"), 60), "text/plain", "")
		more := bytes.Repeat([]byte("y"), 41)
		s.refused("POST", upload, "alice", bytes.NewReader(more), 403, "M_FORBIDDEN")
		// Nobody says how long it is.
		s.refused("POST", upload, "alice", io.MultiReader(bytes.NewReader(more)), 403, "M_FORBIDDEN")
		id := s.create("alice")
		s.refused("PUT", fills+id, "alice", io.MultiReader(bytes.NewReader(more)), 403, "M_FORBIDDEN")
		if files := s.files(); len(files) != 1 {
			t.Errorf("files: %q", files)
		}
		s.refused("PUT", fills+id, "alice", bytes.NewReader(more), 403, "M_FORBIDDEN")
		if r := s.do("PUT", fills+id, "alice", bytes.NewReader(more[:40])); r.status != 200 {
			t.Errorf("what fits: %d %s", r.status, r.body)
		}
		if r := s.do("POST", upload, "bob", bytes.NewReader(more)); r.status != 200 {
			t.Errorf("of somebody else: %d %s", r.status, r.body)
		}
	})
}

// An upload that ends early leaves nothing.
func TestMediaUploadBroken(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Length: 100\r\n\r\nhalf")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != 400 || !strings.Contains(string(text), "M_UNKNOWN") {
		t.Errorf("half an upload: %d %s", response.StatusCode, text)
	}
	if files := s.files(); len(files) != 0 {
		t.Errorf("files: %q", files)
	}
}

func TestMediaConfig(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	for _, path := range []string{"/_matrix/client/v1/media/config", "/_matrix/media/v3/config", "/_matrix/media/r0/config"} {
		client := s.http
		if strings.Contains(path, "r0") {
			client = s.plain
		}
		if r := s.by(client, "GET", path, "alice", nil); r.status != 200 || string(r.body) != `{"m.upload.size":1048576}` {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		s.refused("GET", path, "", nil, 401, "M_MISSING_TOKEN")
	}
}
