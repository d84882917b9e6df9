package clientapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/media"
	"trestle/homeserver/media/picture"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A mediaServer serves the content repository over HTTP. Its tokens are names
// of users.
type mediaServer struct {
	t      testing.TB
	url    string
	folder string
	http   *http.Client // holds everything to the specification
	plain  *http.Client

	mu  sync.Mutex
	now time.Time
}

// named believes every token: alice is @alice:hs.example, a guest and a bridge
// are what they are called.
type named struct{}

func (named) Authenticate(_ context.Context, c api.Credentials) (api.Caller, error) {
	return api.Caller{
		UserID: matrix.NewUserID(c.Token, "hs.example"), Guest: c.Token == "guest", Unlimited: c.Token == "bridge",
	}, nil
}

const mediaMaxUpload = 1 << 20

func newMediaServer(t testing.TB, url string, change ...func(*media.Options)) *mediaServer {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := &mediaServer{t: t, folder: filepath.Join(t.TempDir(), "media"), now: time.UnixMilli(1_700_000_000_000)}
	files, err := media.NewFolder(s.folder)
	if err != nil {
		t.Fatal(err)
	}
	options := media.Options{
		ServerName: "hs.example", DB: db, Store: storage.NewMedia(db), Files: files,
		MaxUpload: mediaMaxUpload, MaxPixels: 1_000_000, Thumbnails: mediaSizes, Now: s.time,
		Log: slog.New(failing{t}),
	}
	for _, c := range change {
		c(&options)
	}
	server := api.NewServer(api.Options{Authenticator: named{}, Logger: slog.New(failing{t}), Now: s.time})
	server.Handle(clientapi.MediaRoutes(media.New(options)))
	listener := httptest.NewServer(server.Handler())
	t.Cleanup(listener.Close)
	s.url, s.plain = listener.URL, listener.Client()
	s.http = &http.Client{Transport: testkit.SpecTransport(t, listener.Client().Transport)}
	return s
}

var mediaSizes = []picture.Size{
	{Width: 32, Height: 32, Method: picture.Crop}, {Width: 96, Height: 96, Method: picture.Crop},
	{Width: 320, Height: 240, Method: picture.Scale}, {Width: 640, Height: 480, Method: picture.Scale},
}

// open lets everybody read, without a token.
func open(o *media.Options) { o.AllowUnauthenticated = true }

func (s *mediaServer) time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *mediaServer) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// mediaReply is what was answered.
type mediaReply struct {
	status int
	header http.Header
	body   []byte
}

func (r mediaReply) field(name string) string {
	var all map[string]any
	_ = json.Unmarshal(r.body, &all)
	text, _ := all[name].(string)
	return text
}

// do makes a request; headers are "Name: value".
func (s *mediaServer) do(method, path, token string, body io.Reader, headers ...string) mediaReply {
	s.t.Helper()
	return s.by(s.http, method, path, token, body, headers...)
}

func (s *mediaServer) by(client *http.Client, method, path, token string, body io.Reader, headers ...string) mediaReply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return mediaReply{response.StatusCode, response.Header, text}
}

// refused checks that a request ends with a status and an error code.
func (s *mediaServer) refused(method, path, token string, body io.Reader, status int, code string) {
	s.t.Helper()
	r := s.do(method, path, token, body)
	if r.status != status || r.field("errcode") != code || r.field("error") == "" {
		s.t.Errorf("%s %s: %d %.200s, want %d %s", method, path, r.status, r.body, status, code)
	}
}

// upload uploads content as alice and returns "hs.example/ID".
func (s *mediaServer) upload(content []byte, kind, query string) string {
	s.t.Helper()
	r := s.do("POST", "/_matrix/media/v3/upload"+query, "alice", bytes.NewReader(content), "Content-Type: "+kind)
	id, ok := strings.CutPrefix(r.field("content_uri"), "mxc://")
	if r.status != http.StatusOK || !ok {
		s.t.Fatalf("upload: %d %s", r.status, r.body)
	}
	return id
}

const (
	downloads    = "/_matrix/client/v1/media/download/"
	thumbnails   = "/_matrix/client/v1/media/thumbnail/"
	oldDownloads = "/_matrix/media/v3/download/"
)

// get downloads, and expects that it works.
func (s *mediaServer) get(path string, headers ...string) mediaReply {
	s.t.Helper()
	r := s.do("GET", path, "bob", nil, headers...)
	if r.status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %.200s", path, r.status, r.body)
	}
	return r
}

// testPNG is an opaque picture of many colours.
func testPNG(width, height int) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x), uint8(y), uint8(x ^ y), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}
