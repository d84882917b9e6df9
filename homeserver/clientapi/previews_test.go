package clientapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// A site is a few pages on this machine, and how often each was asked for.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int
	hold  chan struct{} // what /slow waits for
}

func newSite(t *testing.T) *site {
	s := &site{asked: map[string]int{}, hold: make(chan struct{})}
	mux := http.NewServeMux()
	page := func(path, kind, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(body))
		})
	}
	page("/rock", "text/html", `<html><head><title>The Rock (1996)</title><meta property="og:title" content="The Rock" />
		<meta property="og:type" content="video.movie"/><meta property="og:image" content="pics/rock.png" /></head></html>`)
	page("/pics/rock.png", "image/png", string(testPNG(279, 129)))
	page("/plain", "text/plain", "Nothing to see.")
	page("/latin", "text/html; charset=iso-8859-1", "<title>caf\xe9</title><p>One.<p>Two.")
	page("/huge", "text/html", "<title>Huge</title>"+strings.Repeat("<p>and on", 200_000))
	mux.HandleFunc("/pic/", func(w http.ResponseWriter, r *http.Request) {
		content := testPNG(60, 60)
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(append(content, r.URL.Path...)) // no two of them are the same
	})
	mux.Handle("/away", http.RedirectHandler("/rock", http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	mux.Handle("/inside", http.RedirectHandler("http://127.0.0.3/secret", http.StatusFound))
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.hold:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<title>At last</title>"))
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.URL.Path]++
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) times(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

const previewPath = "/_matrix/client/v1/media/preview_url?url="

func withPreviews(cfg *config.Config) {
	cfg.Media.Previews.AllowAddresses = []string{"127.0.0.1"}
	cfg.Media.Previews.Ports = nil
	cfg.Media.Previews.DenyHosts = []string{"*.bad.example"}
}

func TestPreviews(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, db string) {
		s, pages := newWholeServer(t, db, withPreviews), newSite(t)
		alice := s.person("alice")
		for _, path := range []string{"/rock", "/away", "/rock#end"} {
			for _, at := range []string{previewPath, "/_matrix/media/v3/preview_url?url="} {
				r := alice.must("GET", at+url.QueryEscape(pages.URL+path), nil)
				if r.field("og:title") != "The Rock" || r.field("og:type") != "video.movie" || r.at("og:image:width") != 279.0 ||
					r.at("og:image:height") != 129.0 || r.at("matrix:image:size") != float64(len(testPNG(279, 129))) {
					t.Errorf("%s: %s", path, r.body)
				}
				id, _ := strings.CutPrefix(r.field("og:image"), "mxc://")
				alice.must("GET", downloads+id, nil)
			}
		}
		if n := pages.times("/rock"); n != 2 { // once by redirect
			t.Errorf("the page was fetched %d times", n)
		}
		r := alice.must("GET", previewPath+url.QueryEscape(pages.URL+"/latin"), nil)
		if r.field("og:title") != "café" || r.field("og:description") != "One. Two." {
			t.Error(r.body)
		}
		if r := alice.must("GET", previewPath+url.QueryEscape(pages.URL+"/pics/rock.png"), nil); r.at("og:image:width") != 279.0 {
			t.Error(r.body)
		}
		if r := alice.must("GET", previewPath+url.QueryEscape(pages.URL+"/plain"), nil); r.field("og:title") != "plain" {
			t.Error(r.body)
		}
		if r := alice.must("GET", previewPath+url.QueryEscape(pages.URL+"/huge"), nil); r.field("og:title") != "Huge" {
			t.Error(r.body)
		}
	})
}

// What is kept of a page does not name a picture that operators have hidden, or
// that is gone.
func TestPreviewsWithoutTheirPictures(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, db string) {
		s, pages := newWholeServer(t, db, withPreviews), newSite(t)
		alice := s.person("alice")
		root := *s.administrator("root")
		root.wholeServer = s.plain()
		const media = "/_synapse/admin/v1/media/"
		preview := func(pictured bool) string {
			t.Helper()
			r := alice.must("GET", previewPath+url.QueryEscape(pages.URL+"/rock"), nil)
			if r.field("og:title") != "The Rock" {
				t.Error(r.body)
			}
			for _, key := range []string{"og:image", "og:image:type", "og:image:width", "og:image:height", "matrix:image:size"} {
				if known := r.at(key) != nil; known != pictured {
					t.Errorf("%s is there: %v in %s", key, known, r.body)
				}
			}
			return strings.TrimPrefix(r.field("og:image"), "mxc://")
		}
		id := preview(true)
		root.must("POST", media+"quarantine/"+id, nil)
		preview(false)
		root.must("POST", media+"unquarantine/"+id, nil)
		if again := preview(true); again != id {
			t.Errorf("the picture is %s and %s", id, again)
		}
		root.must("DELETE", media+id, nil)
		preview(false)
		if n := pages.times("/rock"); n != 1 {
			t.Errorf("the page was fetched %d times", n)
		}
	})
}

// One page after the other, and the pictures of all take no more room than the
// operator gives them.
func TestPicturesOfPreviewsHaveABudget(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, db string) {
		most := len(testPNG(60, 60)) * 5 / 2
		s := newWholeServer(t, db, func(cfg *config.Config) {
			withPreviews(cfg)
			cfg.Media.Previews.MaxKept = config.Size(most)
		})
		pages := newSite(t)
		alice := s.person("alice")
		var ids []string
		for i := range 6 {
			r := alice.must("GET", previewPath+url.QueryEscape(fmt.Sprintf("%s/pic/%d", pages.URL, i)), nil)
			id, ok := strings.CutPrefix(r.field("og:image"), "mxc://")
			if !ok {
				t.Fatal(r.body)
			}
			ids = append(ids, id)
		}
		size := 0
		for _, id := range ids {
			if r := alice.do("GET", downloads+id, nil); r.status == http.StatusOK {
				size += len(r.body)
			}
		}
		if size == 0 || size > most {
			t.Errorf("%d bytes of %d", size, most)
		}
		alice.must("GET", downloads+ids[5], nil)
	})
}

func TestPreviewsReachNothingPrivate(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, db string) {
		s, pages := newWholeServer(t, db, withPreviews), newSite(t)
		alice := s.person("alice")
		port := pages.URL[strings.LastIndexByte(pages.URL, ':'):]
		for _, at := range []string{
			"http://127.0.0.2" + port + "/rock", "http://[::1]" + port + "/", "http://10.0.0.1/", "http://0.0.0.0" + port, "http://2130706434" + port,
			pages.URL + "/inside", "ftp://example.org/", "file:///etc/passwd", "http://user@127.0.0.1" + port, "http://www.bad.example/",
		} {
			r := alice.do("GET", previewPath+url.QueryEscape(at), nil)
			if r.status != http.StatusForbidden && r.status != http.StatusBadRequest && r.status != http.StatusBadGateway {
				t.Errorf("%s: %d %s", at, r.status, r.body)
			}
		}
		alice.refused("GET", previewPath+url.QueryEscape("http://127.0.0.2"+port+"/"), nil, 403, "M_FORBIDDEN")
		alice.refused("GET", previewPath+url.QueryEscape(pages.URL+"/inside"), nil, 403, "M_FORBIDDEN")
		alice.refused("GET", previewPath+url.QueryEscape(pages.URL+"/round"), nil, 502, "M_UNKNOWN")
		alice.refused("GET", previewPath+url.QueryEscape(pages.URL+"/none"), nil, 502, "M_UNKNOWN")
		alice.refused("GET", previewPath+"nonsense", nil, 400, "M_INVALID_PARAM")
		alice.refused("GET", "/_matrix/client/v1/media/preview_url", nil, 400, "M_MISSING_PARAM")
		(&device{wholeServer: s}).refused("GET", previewPath+"x", nil, 401, "M_MISSING_TOKEN")
		before := pages.times("/none")
		alice.refused("GET", previewPath+url.QueryEscape(pages.URL+"/none"), nil, 502, "M_UNKNOWN")
		if pages.times("/none") != before {
			t.Error("what failed is tried again at once")
		}
	})
}

// Many who ask for one page make one request, even if the first goes away.
func TestOnePreviewAtATime(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, db string) {
		s, pages := newWholeServer(t, db, withPreviews), newSite(t)
		alice := s.person("alice")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if r := alice.do("GET", previewPath+url.QueryEscape(pages.URL+"/slow"), nil); r.status != 200 || r.field("og:title") != "At last" {
					t.Errorf("%d %s", r.status, r.body)
				}
			})
		}
		select {
		case pages.hold <- struct{}{}: // somebody has asked
			close(pages.hold)
		case <-time.After(2 * time.Minute):
			t.Fatal("nobody asks")
		}
		all.Wait()
		if n := pages.times("/slow"); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// Whoever asks for many pages that do not answer leaves room for others.
func TestPreviewsAreShared(t *testing.T) {
	patient := func(cfg *config.Config) {
		withPreviews(cfg)
		cfg.Media.Previews.Timeout = config.Duration(2 * time.Minute)
	}
	s, pages := newWholeServer(t, t.TempDir()+"/test.db", patient), newSite(t)
	alice, bob := s.person("alice"), s.person("bob")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if r := alice.do("GET", previewPath+url.QueryEscape(fmt.Sprintf("%s/slow?%d", pages.URL, i)), nil); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	select {
	case pages.hold <- struct{}{}: // the first has come, and makes room for one of hers
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody asks")
	}
	if r := bob.do("GET", previewPath+url.QueryEscape(pages.URL+"/plain"), nil); r.status != 200 {
		t.Errorf("another: %d %s", r.status, r.body)
	}
	if n := pages.times("/slow"); n > 5 {
		t.Errorf("%d pages at the same time for one user", n)
	}
	close(pages.hold)
	all.Wait()
}

func TestNoPreviews(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, db string) {
		s := newWholeServer(t, db, func(cfg *config.Config) { cfg.Media.Previews.Enabled = false })
		s.person("alice").refused("GET", previewPath+"http://example.org", nil, 404, "M_UNRECOGNIZED")
	})
}
