package picture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"io"
	"testing"

	"trestle/homeserver/media/picture"
)

// Whatever it is, it is refused or becomes a thumbnail; a decoder that panics
// is an error.
func FuzzRender(f *testing.F) {
	still := riffChunk("VP8L", vp8l(20, 20, color.NRGBA{1, 2, 3, 255}))
	for _, file := range [][]byte{
		encodePNG(quarters(9, 7)), encodeGIF(image.Rect(0, 0, 9, 9), image.Rect(1, 1, 5, 5)),
		withOrientation(encodeJPEG(quarters(16, 8)), binary.BigEndian, 6),
		withOrientation(encodeJPEG(quarters(16, 8)), binary.LittleEndian, 7),
		webpFile(still), animatedWebP(image.Pt(40, 40), image.Rect(10, 10, 30, 30), still),
		withPNGChunk(encodePNG(quarters(9, 7)), pngChunk("acTL", make([]byte, 8))),
		webpOf(image.Pt(8, 8), 0, moment{image.Rect(0, 0, 8, 8), red, 1, 0, 1}, moment{image.Rect(2, 2, 6, 6), blue, 1, 1, 0}),
		apngOf(image.Pt(8, 8), 0, false, moment{image.Rect(0, 0, 8, 8), red, 1, 0, 1}, moment{image.Rect(2, 2, 6, 6), blue, 1, 2, 0}),
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		info, err := picture.Probe(t.Context(), bytes.NewReader(file), 10_000)
		if err != nil {
			if !errors.Is(err, picture.ErrUnsupported) && !errors.Is(err, picture.ErrTooLarge) {
				t.Fatalf("probe: %v", err)
			}
			return
		}
		if info.Moves() {
			var moving bytes.Buffer
			_, err := picture.Animate(t.Context(), bytes.NewReader(file), info, picture.Size{Width: 5, Height: 3, Method: picture.Scale}, 100_000, &moving)
			if err == nil {
				_, err = gif.DecodeAll(&moving)
			}
			if err != nil && !errors.Is(err, picture.ErrUnsupported) && !errors.Is(err, picture.ErrTooLarge) {
				t.Errorf("animate %+v: %v", info, err)
			}
		}
		for _, size := range []picture.Size{{}, {Width: 5, Height: 3, Method: picture.Crop}} {
			if _, err := picture.Render(t.Context(), bytes.NewReader(file), info, size, io.Discard); err != nil && !errors.Is(err, picture.ErrUnsupported) {
				t.Errorf("render %+v: %v", info, err)
			}
		}
	})
}
