package clientapi_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/media"
	"trestle/internal/testkit"
)

const fills = "/_matrix/media/v3/upload/"

// create makes a media ID without content.
func (s *mediaServer) create(user string) string {
	s.t.Helper()
	r := s.do("POST", "/_matrix/media/v1/create", user, nil)
	id, ok := strings.CutPrefix(r.field("content_uri"), "mxc://")
	if r.status != 200 || !ok {
		s.t.Fatalf("create: %d %s", r.status, r.body)
	}
	return id
}

func TestMediaAsyncUpload(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url)
		id := s.create("alice")
		s.refused("GET", downloads+id+"?timeout_ms=0", "bob", nil, 504, "M_NOT_YET_UPLOADED")
		s.refused("GET", downloads+id+"?timeout_ms=1", "bob", nil, 504, "M_NOT_YET_UPLOADED")
		s.refused("GET", thumbnails+id+"?width=1&height=1&timeout_ms=-1", "bob", nil, 504, "M_NOT_YET_UPLOADED")
		s.refused("GET", downloads+id+"?timeout_ms=soon", "bob", nil, 400, "M_INVALID_PARAM")
		s.refused("PUT", fills+id, "", strings.NewReader("x"), 401, "M_MISSING_TOKEN")
		s.refused("PUT", fills+id, "bob", strings.NewReader("x"), 403, "M_FORBIDDEN")
		s.refused("PUT", fills+"hs.example/unknown", "alice", strings.NewReader("x"), 404, "M_NOT_FOUND")
		s.refused("PUT", fills+"hs.example/..%2Fx", "alice", strings.NewReader("x"), 404, "M_NOT_FOUND")
		s.refused("PUT", fills+"other.example/"+strings.TrimPrefix(id, "hs.example/"), "alice", strings.NewReader("x"), 404, "M_NOT_FOUND")
		s.refused("PUT", fills+id, "alice", strings.NewReader(strings.Repeat("x", mediaMaxUpload+1)), 413, "M_TOO_LARGE")
		r := s.do("PUT", fills+id+"?filename=later.txt", "alice", strings.NewReader("later"), "Content-Type: text/plain")
		if r.status != 200 || string(r.body) != "{}" {
			t.Fatalf("fill: %d %s", r.status, r.body)
		}
		if r := s.get(downloads + id); string(r.body) != "later" || r.header.Get("Content-Disposition") != `inline; filename="later.txt"` {
			t.Errorf("%q %v", r.body, r.header)
		}
		s.refused("PUT", fills+id, "alice", strings.NewReader("other"), 409, "M_CANNOT_OVERWRITE_MEDIA")
		s.refused("PUT", fills+s.upload([]byte("x"), "text/plain", ""), "alice", strings.NewReader("other"), 409, "M_CANNOT_OVERWRITE_MEDIA")
		if r := s.get(downloads + id); string(r.body) != "later" {
			t.Errorf("it was overwritten: %q", r.body)
		}
	})
}

// Requests that wait for an upload get it.
func TestMediaWaits(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	id := s.create("alice")
	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() {
			if r := s.do("GET", downloads+id+"?timeout_ms=59000", "bob", nil); r.status != 200 || string(r.body) != "there" {
				t.Errorf("waited for %d %s", r.status, r.body)
			}
		})
	}
	s.do("PUT", fills+id, "alice", strings.NewReader("there"))
	waiting.Wait()
}

// Of uploads to one ID at the same time, one wins.
func TestMediaFillRace(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	id := s.create("alice")
	var mu sync.Mutex
	var racing sync.WaitGroup
	won := ""
	for _, text := range []string{"a", "b", "c", "d"} {
		racing.Go(func() {
			r := s.do("PUT", fills+id, "alice", strings.NewReader(text))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case r.status == 200 && won == "":
				won = text
			case r.status != 409 || r.field("errcode") != "M_CANNOT_OVERWRITE_MEDIA":
				t.Errorf("%s after %q: %d %s", text, won, r.status, r.body)
			}
		})
	}
	racing.Wait()
	if r := s.get(downloads + id); string(r.body) != won {
		t.Errorf("%q won, but it is %q", won, r.body)
	}
}

func TestMediaExpiry(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url, func(o *media.Options) { o.MaxUnused = 2 })
		r := s.do("POST", "/_matrix/media/v1/create", "alice", nil)
		var created struct {
			URI     string `json:"content_uri"`
			Expires int64  `json:"unused_expires_at"`
		}
		if err := json.Unmarshal(r.body, &created); err != nil || created.Expires != s.time().Add(24*time.Hour).UnixMilli() {
			t.Errorf("created: %s", r.body)
		}
		id := strings.TrimPrefix(created.URI, "mxc://")
		s.create("alice")
		s.create("bob")
		s.refused("POST", "/_matrix/media/v1/create", "alice", nil, 429, "M_LIMIT_EXCEEDED")
		for range 3 {
			s.create("bridge") // has no limits
		}
		s.wait(24 * time.Hour)
		s.refused("GET", downloads+id+"?timeout_ms=0", "bob", nil, 404, "M_NOT_FOUND")
		s.refused("PUT", fills+id, "alice", strings.NewReader("x"), 404, "M_NOT_FOUND")
		s.create("alice")
		s.wait(24 * time.Hour)
		s.create("alice") // and now the first are deleted
		s.refused("PUT", fills+id, "alice", strings.NewReader("x"), 404, "M_NOT_FOUND")
		s.refused("POST", "/_matrix/media/v1/create", "guest", nil, 403, "M_GUEST_ACCESS_FORBIDDEN")
		s.refused("POST", "/_matrix/media/v1/create", "", nil, 401, "M_MISSING_TOKEN")
	})
}
