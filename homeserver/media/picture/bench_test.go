package picture_test

import (
	"bytes"
	"image"
	"io"
	"math/rand/v2"
	"testing"

	"trestle/homeserver/media/picture"
)

// A photograph of 12 million pixels, as telephones make them.
func BenchmarkPhotograph(b *testing.B) {
	img := image.NewYCbCr(image.Rect(0, 0, 4000, 3000), image.YCbCrSubsampleRatio420)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range img.Y {
		img.Y[i] = uint8(i/3 + random.IntN(30))
	}
	file := encodeJPEG(img)
	info, err := picture.Probe(b.Context(), bytes.NewReader(file), 32_000_000)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []picture.Size{kept[0], kept[4]} {
		b.Run(string(size.Method), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := picture.Render(b.Context(), bytes.NewReader(file), info, size, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
