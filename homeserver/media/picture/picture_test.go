package picture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"trestle/homeserver/media/picture"
)

const limit = 1_000_000

// render probes and renders a file, and decodes the result.
func render(t *testing.T, file []byte, size picture.Size) (image.Image, picture.Format) {
	t.Helper()
	info, err := picture.Probe(t.Context(), bytes.NewReader(file), limit)
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	var b bytes.Buffer
	format, err := picture.Render(t.Context(), bytes.NewReader(file), info, size, &b)
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	decode := png.Decode
	if format == picture.JPEG {
		decode = jpeg.Decode
	}
	img, err := decode(&b)
	if err != nil {
		t.Fatalf("decode the %s: %v", format, err)
	}
	return img, format
}

// near allows for what JPEG and scaling do to colours.
func near(a, b color.Color) bool {
	ar, ag, ab, aa := a.RGBA()
	br, bg, bb, ba := b.RGBA()
	far := func(x, y uint32) bool { return max(x, y)-min(x, y) > 40<<8 }
	return !far(ar, br) && !far(ag, bg) && !far(ab, bb) && !far(aa, ba)
}

func TestProbe(t *testing.T) {
	solid := vp8l(30, 20, color.NRGBA{1, 2, 3, 255})
	for _, c := range []struct {
		name          string
		file          []byte
		format        picture.Format
		width, height int
		animated      bool
	}{
		{"PNG", encodePNG(quarters(30, 20)), picture.PNG, 30, 20, false},
		{"APNG", withPNGChunk(encodePNG(quarters(30, 20)), pngChunk("acTL", make([]byte, 8))), picture.PNG, 30, 20, true},
		{"JPEG", encodeJPEG(quarters(30, 20)), picture.JPEG, 30, 20, false},
		{"JPEG on its side", withOrientation(encodeJPEG(quarters(30, 20)), binary.BigEndian, 6), picture.JPEG, 20, 30, false},
		{"JPEG upside down", withOrientation(encodeJPEG(quarters(30, 20)), binary.LittleEndian, 3), picture.JPEG, 30, 20, false},
		{"JPEG with nonsense", withOrientation(encodeJPEG(quarters(30, 20)), binary.LittleEndian, 9), picture.JPEG, 30, 20, false},
		{"GIF", encodeGIF(image.Rect(0, 0, 30, 20), image.Rect(5, 5, 10, 10)), picture.GIF, 30, 20, true},
		{"WebP", webpFile(riffChunk("VP8L", solid)), picture.WebP, 30, 20, false},
		{"WebP, extended", webpFile(vp8x(0, 30, 20), riffChunk("VP8L", solid)), picture.WebP, 30, 20, false},
		{"WebP, animated", animatedWebP(image.Pt(40, 50), image.Rect(2, 4, 32, 24), riffChunk("VP8L", solid)), picture.WebP, 40, 50, true},
	} {
		info, err := picture.Probe(t.Context(), bytes.NewReader(c.file), limit)
		if err != nil || info.Format != c.format || info.Width != c.width || info.Height != c.height || info.Animated != c.animated {
			t.Errorf("%s: %+v, %v", c.name, info, err)
		}
	}
}

// Nothing that is too large is decoded, and nothing that is no picture.
func TestHostile(t *testing.T) {
	bomb := vp8l(16384, 16384, color.NRGBA{1, 2, 3, 255})
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"nothing", nil, picture.ErrUnsupported},
		{"text", []byte("hello"), picture.ErrUnsupported},
		{"HTML", []byte("<html><img src=x>"), picture.ErrUnsupported},
		{"SVG", []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`), picture.ErrUnsupported},
		{"PNG cut off", encodePNG(quarters(30, 20))[:20], picture.ErrUnsupported},
		{"only the first bytes of a JPEG", []byte("\xff\xd8\xff"), picture.ErrUnsupported},
		{"only the first bytes of a WebP", []byte("RIFF\x00\x00\x00\x00WEBP"), picture.ErrUnsupported},
		{"a million pixels too many", pngOf(2000, 1000), picture.ErrTooLarge},
		{"as many as can be written", pngOf(1<<31-1, 1), picture.ErrTooLarge},
		{"more than can be counted", pngOf(1<<31-1, 1<<31-1), picture.ErrUnsupported},
		{"a row that is too long", pngOf(1<<16, 1), picture.ErrTooLarge},
		{"PNG without pixels", pngOf(0, 1), picture.ErrUnsupported},
		{"GIF", encodeGIF(image.Rect(0, 0, 1100, 1000), image.Rect(0, 0, 1, 1)), picture.ErrTooLarge},
		{"WebP of 24 bytes", webpFile(riffChunk("VP8L", bomb)), picture.ErrTooLarge},
		{"WebP on a large canvas", webpFile(vp8x(1<<4, 1<<24, 1<<24)), picture.ErrUnsupported},
		{"WebP on a canvas that is just too large", webpFile(vp8x(1<<4, 1001, 1000)), picture.ErrTooLarge},
		{"PNG of chunks", append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat(pngChunk("tEXt", nil), 2000)...), picture.ErrUnsupported},
	} {
		if _, err := picture.Probe(t.Context(), bytes.NewReader(c.file), limit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for name, file := range map[string][]byte{
		"a small canvas for a large WebP": webpFile(vp8x(0, 10, 10), riffChunk("VP8L", bomb)),
		"a small canvas for its alpha":    webpFile(vp8x(1<<4, 10, 10), riffChunk("ALPH", []byte{1}), riffChunk("VP8L", bomb)),
		"a frame outside of its canvas":   animatedWebP(image.Pt(10, 10), image.Rect(0, 0, 16384, 16384), riffChunk("VP8L", bomb)),
		"a frame that lies":               animatedWebP(image.Pt(10, 10), image.Rect(0, 0, 10, 10), riffChunk("VP8L", bomb)),
		"an animation without frames":     webpFile(vp8x(1<<1, 10, 10)),
		"a PNG without an end":            pngOf(1000, 1000),
		"a JPEG without an end":           encodeJPEG(quarters(300, 200))[:700],
		"a GIF without an end":            encodeGIF(image.Rect(0, 0, 9, 9), image.Rect(0, 0, 9, 9))[:30],
	} {
		info, err := picture.Probe(t.Context(), bytes.NewReader(file), limit)
		if err != nil {
			t.Errorf("%s: probe: %v", name, err)
			continue
		}
		if _, err := picture.Render(t.Context(), bytes.NewReader(file), info, picture.Size{Width: 5, Height: 5, Method: picture.Crop}, io.Discard); !errors.Is(err, picture.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRender(t *testing.T) {
	scale, crop := picture.Size{Width: 20, Height: 20, Method: picture.Scale}, picture.Size{Width: 20, Height: 20, Method: picture.Crop}
	for _, c := range []struct {
		name          string
		file          []byte
		size          picture.Size
		width, height int
	}{
		{"PNG scaled", encodePNG(quarters(200, 100)), scale, 20, 10},
		{"PNG cropped", encodePNG(quarters(200, 100)), crop, 20, 20},
		{"JPEG scaled", encodeJPEG(quarters(30, 300)), scale, 2, 20},
		{"JPEG cropped", encodeJPEG(quarters(30, 300)), crop, 20, 20},
		{"a small one", encodePNG(quarters(8, 8)), scale, 8, 8},
		{"whole", encodePNG(quarters(41, 43)), picture.Size{}, 41, 43},
		{"not upscaled by cropping", encodePNG(quarters(10, 100)), crop, 10, 10},
		{"a long row", encodePNG(quarters(60000, 2)), scale, 20, 1},
		{"a long column", encodePNG(quarters(2, 60000)), crop, 2, 2},
	} {
		img, format := render(t, c.file, c.size)
		w, h := img.Bounds().Dx(), img.Bounds().Dy()
		if w != c.width || h != c.height || format != picture.JPEG {
			t.Errorf("%s: %s of %d by %d, want %d by %d", c.name, format, w, h, c.width, c.height)
		}
		if w < 16 || h < 10 {
			continue // JPEG makes one colour of it
		}
		for i, at := range []image.Point{{0, 0}, {w - 1, 0}, {0, h - 1}, {w - 1, h - 1}} {
			if got := img.At(at.X, at.Y); !near(got, corners[i]) {
				t.Errorf("%s: at %v it is %v, want %v", c.name, at, got, corners[i])
			}
		}
	}
}

// A picture is turned as a camera was held.
func TestOrientation(t *testing.T) {
	file := encodeJPEG(quarters(60, 30))
	for value, want := range map[uint16][4]int{ // clockwise it is 0 1 3 2
		1: {0, 1, 2, 3}, 2: {1, 0, 3, 2}, 3: {3, 2, 1, 0}, 4: {2, 3, 0, 1},
		5: {0, 2, 1, 3}, 6: {2, 0, 3, 1}, 7: {3, 1, 2, 0}, 8: {1, 3, 0, 2},
	} {
		for _, size := range []picture.Size{{Width: 40, Height: 40, Method: picture.Scale}, {Width: 20, Height: 20, Method: picture.Crop}} {
			img, _ := render(t, withOrientation(file, binary.BigEndian, value), size)
			w, h := img.Bounds().Dx(), img.Bounds().Dy()
			if size.Method == picture.Scale && (w < h) != (value >= 5) {
				t.Errorf("orientation %d: %d by %d", value, w, h)
			}
			for i, at := range []image.Point{{1, 1}, {w - 2, 1}, {1, h - 2}, {w - 2, h - 2}} {
				if got := img.At(at.X, at.Y); !near(got, corners[want[i]]) {
					t.Errorf("orientation %d, %s: at %v it is %v, want %v", value, size.Method, at, got, corners[want[i]])
				}
			}
		}
	}
}

// Thumbnails show the first frame, and keep what can be seen through.
func TestTransparent(t *testing.T) {
	red := color.NRGBA{255, 0, 0, 255}
	still := riffChunk("VP8L", vp8l(20, 20, red))
	half := vp8l(40, 40, color.NRGBA{0, 0, 255, 128})
	for _, c := range []struct {
		name           string
		file           []byte
		format         picture.Format
		corner, middle color.Color
	}{
		{"GIF", encodeGIF(image.Rect(0, 0, 40, 40), image.Rect(10, 10, 30, 30)), picture.PNG, color.Transparent, red},
		{"GIF, whole", encodeGIF(image.Rect(0, 0, 40, 40), image.Rect(0, 0, 40, 40)), picture.JPEG, red, red},
		{"WebP, animated", animatedWebP(image.Pt(40, 40), image.Rect(10, 10, 30, 30), still), picture.PNG, color.Transparent, red},
		{"WebP", webpFile(riffChunk("VP8L", vp8l(40, 40, red))), picture.JPEG, red, red},
		{"WebP to see through", webpFile(riffChunk("VP8L", half)), picture.PNG, color.NRGBA{0, 0, 255, 128}, color.NRGBA{0, 0, 255, 128}},
	} {
		for _, size := range []picture.Size{{}, {Width: 20, Height: 20, Method: picture.Scale}, {Width: 32, Height: 16, Method: picture.Crop}} {
			img, format := render(t, c.file, size)
			w, h := img.Bounds().Dx(), img.Bounds().Dy()
			corner, middle := img.At(0, 0), img.At(w/2, h/2)
			if format != c.format || size.Method != picture.Crop && !near(corner, c.corner) || !near(middle, c.middle) {
				t.Errorf("%s in %v: a %s with %v and %v", c.name, size, format, corner, middle)
			}
		}
	}
}

// Decoding ends with its context, and what the disk does wrong is not the
// picture's fault.
func TestInterrupted(t *testing.T) {
	file := encodePNG(quarters(100, 100))
	info, err := picture.Probe(t.Context(), bytes.NewReader(file), limit)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := picture.Render(ctx, bytes.NewReader(file), info, picture.Size{}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	broken := errors.New("the disk is broken")
	disk := struct {
		io.Reader
		io.Seeker
	}{iotest.ErrReader(broken), strings.NewReader("")}
	if _, err := picture.Probe(t.Context(), disk, limit); !errors.Is(err, broken) || errors.Is(err, picture.ErrUnsupported) {
		t.Errorf("probe of a broken disk: %v", err)
	}
	if _, err := picture.Render(t.Context(), disk, info, picture.Size{}, io.Discard); !errors.Is(err, broken) || errors.Is(err, picture.ErrUnsupported) {
		t.Errorf("render from a broken disk: %v", err)
	}
}
