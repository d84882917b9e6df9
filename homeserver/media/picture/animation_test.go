package picture_test

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"slices"
	"testing"

	"trestle/homeserver/media/picture"
)

var (
	red, blue = color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}
	clear     = color.RGBA{}
)

// frame is a rectangle of one color.
func frame(area image.Rectangle, c color.RGBA) *image.Paletted {
	img := image.NewPaletted(area, color.Palette{clear, red, blue})
	for i := range img.Pix {
		img.Pix[i] = uint8(img.Palette.Index(c))
	}
	return img
}

func encodeAnimation(moving *gif.GIF) []byte {
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, moving); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func animate(t *testing.T, file []byte, size picture.Size, maxPixels int64) (*gif.GIF, error) {
	t.Helper()
	info, err := picture.Probe(t.Context(), bytes.NewReader(file), 1_000_000)
	if err != nil || !info.Moves() {
		t.Fatalf("probe: %+v, %v", info, err)
	}
	var b bytes.Buffer
	if _, err := picture.Animate(t.Context(), bytes.NewReader(file), info, size, maxPixels, &b); err != nil {
		return nil, err
	}
	moving, err := gif.DecodeAll(&b)
	if err != nil {
		t.Fatal(err)
	}
	return moving, nil
}

// What each frame shows is what a viewer of the original sees at that moment:
// frames that are parts, with each way to go on after them.
func TestAnimate(t *testing.T) {
	whole, left, right := image.Rect(0, 0, 80, 40), image.Rect(0, 0, 40, 40), image.Rect(40, 0, 80, 40)
	file := encodeAnimation(&gif.GIF{
		Image:     []*image.Paletted{frame(whole, red), frame(right, blue), frame(left, blue), frame(right, clear)},
		Delay:     []int{5, 0, 70, 10},
		Disposal:  []byte{gif.DisposalNone, gif.DisposalPrevious, gif.DisposalBackground, gif.DisposalNone},
		LoopCount: 3,
	})
	shown := [][2]color.RGBA{{red, red}, {red, blue}, {blue, red}, {clear, red}}
	checkAnimation(t, file, shown)
}

// What PNGs and WebPs say of their frames is the same in other words.
func TestAnimateOthers(t *testing.T) {
	whole, left, right := image.Rect(0, 0, 80, 40), image.Rect(0, 0, 40, 40), image.Rect(40, 0, 80, 40)
	const none, background, previous, over = 0, 1, 2, 1
	moments := []moment{{whole, red, 5, none, 0}, {right, blue, 0, previous, 0}, {left, blue, 70, background, over}, {right, clear, 10, none, over}}
	for _, hidden := range []bool{false, true} {
		checkAnimation(t, apngOf(whole.Max, 4, hidden, moments...), [][2]color.RGBA{{red, red}, {red, blue}, {blue, red}, {clear, red}})
	}
	const instead = 1
	moments = []moment{{whole, red, 5, none, instead}, {right, blue, 0, background, 0}, {left, blue, 70, none, 0}, {right, clear, 10, none, 0}}
	checkAnimation(t, webpOf(whole.Max, 4, moments...), [][2]color.RGBA{{red, red}, {red, blue}, {blue, clear}, {blue, clear}})
	moments[1], moments[3] = moment{right, blue, 0, none, instead}, moment{right, clear, 10, none, instead}
	checkAnimation(t, webpOf(whole.Max, 4, moments...), [][2]color.RGBA{{red, red}, {red, blue}, {blue, blue}, {blue, clear}})
}

// checkAnimation makes an animation of 80 by 40 pixels small, which has four frames, and
// looks at the left and the right half of each.
func checkAnimation(t *testing.T, file []byte, shown [][2]color.RGBA) {
	t.Helper()
	for _, size := range []picture.Size{{Width: 20, Height: 20, Method: picture.Scale}, {Width: 20, Height: 10, Method: picture.Crop}} {
		moving, err := animate(t, file, size, 80*40*4)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(moving.Delay, []int{5, 0, 70, 10}) || moving.LoopCount != 3 || len(moving.Image) != len(shown) {
			t.Fatalf("%d frames, %v, %d times", len(moving.Image), moving.Delay, moving.LoopCount)
		}
		for i, img := range moving.Image {
			if img.Bounds() != image.Rect(0, 0, 20, 10) {
				t.Errorf("frame %d is %v", i, img.Bounds())
			}
			if got := [2]color.RGBA{img.At(4, 5).(color.RGBA), img.At(15, 5).(color.RGBA)}; got != shown[i] {
				t.Errorf("frame %d is %v, not %v", i, got, shown[i])
			}
			if moving.Disposal[i] != gif.DisposalBackground {
				t.Errorf("frame %d is seen through the next", i)
			}
		}
	}
}

// Pictures with more colors than a GIF has keep the ones that matter.
func TestAnimateColors(t *testing.T) {
	colorful := image.NewPaletted(image.Rect(0, 0, 256, 256), nil)
	for i := range 256 {
		colorful.Palette = append(colorful.Palette, color.RGBA{uint8(i), uint8(255 - i), 128, 255})
	}
	for i := range colorful.Pix {
		colorful.Pix[i] = uint8(i + i/256)
	}
	file := encodeAnimation(&gif.GIF{Image: []*image.Paletted{colorful, colorful}, Delay: []int{1, 1}})
	moving, err := animate(t, file, picture.Size{Width: 200, Height: 200, Method: picture.Scale}, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{20, 90, 170} {
		got := moving.Image[1].At(at, 0).(color.RGBA)
		want := at * 256 / 200
		if off := int(got.R) - want; off < -12 || off > 12 || got.A != 255 {
			t.Errorf("at %d: %v, not about %d", at, got, want)
		}
	}
	if moving.Disposal[0] != gif.DisposalNone {
		t.Error("frames without holes need not be erased")
	}
}

func TestAnimateRefuses(t *testing.T) {
	small := image.Rect(0, 0, 20, 20)
	two := encodeAnimation(&gif.GIF{Image: []*image.Paletted{frame(small, red), frame(small, blue)}, Delay: []int{1, 1}})
	one := encodeAnimation(&gif.GIF{Image: []*image.Paletted{frame(small, red)}, Delay: []int{1}})
	many := &gif.GIF{}
	for range 1001 {
		many.Image, many.Delay = append(many.Image, frame(image.Rect(0, 0, 1, 1), red)), append(many.Delay, 1)
	}
	at, out := []moment{{small, red, 1, 0, 0}, {small, blue, 1, 0, 0}}, []moment{{small, red, 1, 0, 0}, {small.Add(image.Pt(10, 0)), blue, 1, 0, 0}}
	webp, apng := webpOf(small.Max, 0, at...), apngOf(small.Max, 0, false, at...)
	for name, tt := range map[string]struct {
		file []byte
		max  int64
		want error
	}{
		"a GIF that stands still":    {one, 10_000, picture.ErrUnsupported},
		"too many pixels":            {two, 799, picture.ErrTooLarge},
		"too many frames":            {encodeAnimation(many), 1 << 40, picture.ErrTooLarge},
		"a file that is cut off":     {two[:len(two)-3], 10_000, picture.ErrUnsupported},
		"a file without an end":      {two[:len(two)-1], 10_000, picture.ErrUnsupported},
		"too many pixels of a WebP":  {webp, 799, picture.ErrTooLarge},
		"too many pixels of a PNG":   {apng, 799, picture.ErrTooLarge},
		"a WebP that is cut off":     {webp[:len(webp)-3], 10_000, picture.ErrUnsupported},
		"a PNG that is cut off":      {apng[:len(apng)-16], 10_000, picture.ErrUnsupported},
		"a WebP that stands still":   {webpOf(small.Max, 0, at[0]), 10_000, picture.ErrUnsupported},
		"a PNG that stands still":    {apngOf(small.Max, 0, true, at[0]), 10_000, picture.ErrUnsupported},
		"a WebP's frame outside":     {webpOf(small.Max, 0, out...), 10_000, picture.ErrUnsupported},
		"a PNG's frame outside":      {apngOf(small.Max, 0, false, out...), 10_000, picture.ErrUnsupported},
		"a PNG of many colours":      {slices.Insert(bytes.Clone(apng), bytes.Index(apng, []byte("fcTL"))-4, pngChunk("tRNS", make([]byte, 3000))...), 10_000, picture.ErrUnsupported},
		"something between the rest": {append(bytes.Clone(two[:len(two)-1]), 0x77), 10_000, picture.ErrUnsupported},
	} {
		if _, err := animate(t, tt.file, picture.Size{Width: 5, Height: 5, Method: picture.Scale}, tt.max); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
