package clientapi_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	_ "image/jpeg"
	_ "image/png"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trestle/homeserver/media"
	"trestle/internal/testkit"
)

// thumbnail asks for a thumbnail, and expects a picture of a size.
func (s *mediaServer) thumbnail(id, query string, width, height int) mediaReply {
	s.t.Helper()
	r := s.get(thumbnails + id + query)
	img, format, err := image.Decode(bytes.NewReader(r.body))
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	if size := img.Bounds().Size(); size != image.Pt(width, height) {
		s.t.Errorf("%s: %v, want %d by %d", query, size, width, height)
	}
	extension := format
	if format == "jpeg" {
		extension = "jpg"
	}
	if r.header.Get("Content-Type") != "image/"+format || r.header.Get("Content-Disposition") != `inline; filename="thumbnail.`+extension+`"` {
		s.t.Errorf("%s: a %s with %v", query, format, r.header)
	}
	return r
}

func TestThumbnails(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url)
		original := testPNG(900, 600)
		// What the uploader says about it does not matter.
		id := s.upload(original, "text/html", "?filename=x.html")
		for range 2 {
			s.thumbnail(id, "?width=32&height=32&method=crop", 32, 32)
			s.thumbnail(id, "?width=50&height=90&method=crop", 96, 96)
			s.thumbnail(id, "?width=100&height=100&method=crop", 320, 213)
			s.thumbnail(id, "?width=320&height=240&method=scale", 320, 213)
			s.thumbnail(id, "?width=500&height=1", 320, 213)
			s.thumbnail(id, "?width=500&height=400&method=scale&animated=true", 640, 427)
		}
		if files := s.files(); len(files) != 5 {
			t.Errorf("files: %q", files)
		}
		large := s.thumbnail(id, "?width=800&height=800&method=scale", 900, 600)
		if !bytes.Equal(large.body, original) {
			t.Error("the whole picture is not what was uploaded")
		}
		small := s.thumbnail(s.upload(testPNG(30, 20), "image/png", ""), "?width=32&height=32&method=crop", 30, 20)
		if small.header.Get("Content-Type") != "image/png" || small.header.Get("Content-Security-Policy") == "" || small.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
			t.Errorf("%v", small.header)
		}
		r := s.by(s.plain, "GET", thumbnails+id+"?width=32&height=32&method=crop", "bob", nil, "If-None-Match: "+s.get(thumbnails+id+"?width=31&height=31&method=crop").header.Get("ETag"))
		if r.status != http.StatusNotModified {
			t.Errorf("the same thumbnail again: %d", r.status)
		}
		// Another server process finds what was made.
		again := newMediaServer(t, url, func(o *media.Options) { o.ThumbnailTime = 1 })
		copyFolder(t, s.folder, again.folder)
		again.thumbnail(id, "?width=32&height=32&method=crop", 32, 32)
	})
}

// A still thumbnail of what moves is one, even if the original is small.
func TestThumbnailsStandStill(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	original := movingGIF(40, 40)
	id := s.upload(original, "image/gif", "")
	for _, query := range []string{"?width=40&height=40", "?width=40&height=40&animated=false", "?width=100&height=100&method=crop"} {
		if r := s.thumbnail(id, query, 40, 40); r.header.Get("Content-Type") == "image/gif" {
			t.Errorf("%s: it moves", query)
		}
	}
	s.thumbnail(id, "?width=20&height=20&method=crop", 32, 32)
	if r := s.thumbnail(id, "?width=40&height=40&animated=true", 40, 40); !bytes.Equal(r.body, original) {
		t.Error("it does not move, though it may")
	}
}

// A thumbnail moves where it may and can.
func TestThumbnailsMove(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newMediaServer(t, url)
		id := s.upload(movingGIF(200, 100), "image/gif", "")
		first := s.thumbnail(id, "?width=90&height=90&method=crop&animated=true", 96, 96)
		moving, err := gif.DecodeAll(bytes.NewReader(first.body))
		if err != nil || len(moving.Image) != 2 {
			t.Fatalf("%s that moves: %v", first.header.Get("Content-Type"), err)
		}
		if again := s.thumbnail(id, "?width=90&height=90&method=crop&animated=true", 96, 96); !bytes.Equal(again.body, first.body) {
			t.Error("another one the second time")
		}
		if still := s.thumbnail(id, "?width=90&height=90&method=crop", 96, 96); still.header.Get("Content-Type") == "image/gif" {
			t.Error("it moves, though nobody has asked for that")
		}
		// Too long to be made small, or cut off.
		short := newMediaServer(t, t.TempDir()+"/test.db", func(o *media.Options) { o.MaxPixels = 2 * 200 * 100 })
		long := movingGIF(200, 100, 1, 1, 1)
		for _, file := range [][]byte{long, long[:len(long)-1]} {
			r := short.thumbnail(short.upload(file, "image/gif", ""), "?width=90&height=90&method=crop&animated=true", 96, 96)
			if r.header.Get("Content-Type") == "image/gif" {
				t.Error("it moves, though it is too long")
			}
		}
	})
}

// movingGIF has two frames, and some more.
func movingGIF(width, height int, more ...int) []byte {
	palette := color.Palette{color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}}
	bounds := image.Rect(0, 0, width, height)
	var b bytes.Buffer
	moving := &gif.GIF{}
	for _, delay := range append([]int{1, 1}, more...) {
		moving.Image, moving.Delay = append(moving.Image, image.NewPaletted(bounds, palette)), append(moving.Delay, delay)
	}
	err := gif.EncodeAll(&b, moving)
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

func TestThumbnailsRefused(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	id := s.upload(testPNG(100, 100), "image/png", "")
	for query, code := range map[string]string{
		"": "M_MISSING_PARAM", "?width=1": "M_MISSING_PARAM", "?height=1": "M_MISSING_PARAM",
		"?width=0&height=1": "M_INVALID_PARAM", "?width=1&height=-1": "M_INVALID_PARAM",
		"?width=1.5&height=1": "M_INVALID_PARAM", "?width=&height=1": "M_INVALID_PARAM",
		"?width=99999999999999999999&height=1":       "M_INVALID_PARAM",
		"?width=1&height=1&method=stretch":           "M_INVALID_PARAM",
		"?width=1&height=1&method=crop&animated=yes": "M_INVALID_PARAM",
	} {
		s.refused("GET", thumbnails+id+query, "bob", nil, 400, code)
	}
	s.thumbnail(id, "?width=9223372036854775807&height=9223372036854775807", 100, 100)
	const wish = "?width=10&height=10"
	for range 2 { // the second time from memory
		s.refused("GET", thumbnails+s.upload([]byte("no picture"), "image/png", "")+wish, "bob", nil, 400, "M_UNKNOWN")
		s.refused("GET", thumbnails+s.upload(testPNG(500, 500)[:1000], "image/png", "")+wish, "bob", nil, 400, "M_UNKNOWN")
		s.refused("GET", thumbnails+s.upload(testPNG(1001, 1000), "image/png", "")+wish, "bob", nil, 413, "M_TOO_LARGE")
	}
	s.refused("GET", thumbnails+"hs.example/unknown"+wish, "bob", nil, 404, "M_NOT_FOUND")
	if files := s.files(); len(files) != 4 {
		t.Errorf("files: %q", files)
	}
	there := &elsewhere{content: map[string]string{"large": string(testPNG(1001, 1000))}}
	far := newMediaServer(t, t.TempDir()+"/test.db", func(o *media.Options) { o.Remote = there })
	far.refused("GET", thumbnails+"far.example/large"+wish, "bob", nil, 502, "M_TOO_LARGE")
	slow := newMediaServer(t, t.TempDir()+"/test.db", func(o *media.Options) { o.ThumbnailTime = time.Nanosecond })
	slow.refused("GET", thumbnails+slow.upload(testPNG(100, 100), "image/png", "")+wish+"&method=crop", "bob", nil, 400, "M_UNKNOWN")
}

// countedFiles counts what is written.
type countedFiles struct {
	media.Files
	drafts atomic.Int64
}

func (c *countedFiles) Create(ctx context.Context) (media.Draft, error) {
	c.drafts.Add(1)
	return c.Files.Create(ctx)
}

// However many want a thumbnail at the same time, it is made once.
func TestThumbnailsMadeOnce(t *testing.T) {
	files := &countedFiles{}
	s := newMediaServer(t, t.TempDir()+"/test.db", func(o *media.Options) { files.Files, o.Files = o.Files, files })
	var ids []string
	for i := range 3 {
		ids = append(ids, s.upload(testPNG(400+i, 400), "image/png", ""))
	}
	before := files.drafts.Load()
	var asking sync.WaitGroup
	for i := range 30 {
		asking.Go(func() { s.thumbnail(ids[i%3], "?width=96&height=96&method=crop", 96, 96) })
	}
	asking.Wait()
	if n := files.drafts.Load() - before; n != 3 {
		t.Errorf("3 thumbnails were made %d times", n)
	}
}

// Whoever goes away while a thumbnail is made takes it from nobody else.
func TestThumbnailsCancelled(t *testing.T) {
	s := newMediaServer(t, t.TempDir()+"/test.db")
	id := s.upload(testPNG(400, 400), "image/png", "")
	for n := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() {
			r, err := http.NewRequestWithContext(ctx, "GET", s.url+thumbnails+id+"?width=96&height=96&method=crop", nil)
			if err != nil {
				panic(err)
			}
			r.Header.Set("Authorization", "Bearer bob")
			if response, err := s.plain.Do(r); err == nil {
				response.Body.Close()
			}
		})
		asking.Go(func() { s.thumbnail(id, "?width=96&height=96&method=crop", 96, 96) })
		cancel()
		asking.Wait()
		id = s.upload(testPNG(400-n, 399), "image/png", "")
	}
}

// No query makes the server fail, or answer with something too small.
func FuzzThumbnailQuery(f *testing.F) {
	s := newMediaServer(f, f.TempDir()+"/test.db")
	id := s.upload(testPNG(400, 300), "image/png", "")
	for _, query := range []string{
		"width=32&height=32&method=crop", "width=320&height=240&method=scale&animated=true", "width=%31&height=+1", "width=1&width=2&height=3",
		"width=-1&height=x", "method=%ff&width=1&height=1", "height=9223372036854775807&width=1", "&&=&width==1", "width=1&height=1&timeout_ms=-5",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if _, err := url.Parse(s.url + "/?" + query); err != nil || strings.ContainsAny(query, "# \x7f") {
			t.Skip()
		}
		r, err := http.NewRequest("GET", s.url+thumbnails+id+"?"+query, nil)
		if err != nil {
			t.Skip()
		}
		r.Header.Set("Authorization", "Bearer bob")
		response, err := s.plain.Do(r)
		if err != nil {
			t.Skip() // not one that can be sent
		}
		defer response.Body.Close()
		switch response.StatusCode {
		case 400:
			return
		case 200:
		default:
			t.Fatalf("%q: %d", query, response.StatusCode)
		}
		got, _, err := image.DecodeConfig(response.Body)
		if err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		var width, height int
		values := r.URL.Query()
		fmt.Sscan(values.Get("width"), &width)
		fmt.Sscan(values.Get("height"), &height)
		// One side at least is as long as was wished for.
		if got.Width < min(width, 400) && got.Height < min(height, 300) || got.Width > 400 || got.Height > 300 {
			t.Errorf("%q: %d by %d", query, got.Width, got.Height)
		}
	})
}
