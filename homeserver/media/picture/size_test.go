package picture_test

import (
	"testing"

	"trestle/homeserver/media/picture"
)

var kept = []picture.Size{
	{Width: 32, Height: 32, Method: picture.Crop}, {Width: 96, Height: 96, Method: picture.Crop},
	{Width: 320, Height: 240, Method: picture.Scale}, {Width: 640, Height: 480, Method: picture.Scale},
	{Width: 800, Height: 600, Method: picture.Scale},
}

func TestChoose(t *testing.T) {
	whole := picture.Size{}
	for _, c := range []struct {
		width, height int
		wish, want    picture.Size
	}{
		{1000, 1000, picture.Size{Width: 32, Height: 32, Method: picture.Crop}, kept[0]},
		{1000, 1000, picture.Size{Width: 20, Height: 33, Method: picture.Crop}, kept[1]},
		{1000, 1000, picture.Size{Width: 97, Height: 97, Method: picture.Crop}, kept[2]},
		{1000, 1000, picture.Size{Width: 240, Height: 240, Method: picture.Crop}, kept[2]},
		{1000, 1000, picture.Size{Width: 241, Height: 241, Method: picture.Crop}, kept[3]},
		{1000, 1000, picture.Size{Width: 32, Height: 32, Method: picture.Scale}, kept[2]},
		{1000, 1000, picture.Size{Width: 320, Height: 240, Method: picture.Scale}, kept[2]},
		{1000, 1000, picture.Size{Width: 321, Height: 240, Method: picture.Scale}, kept[2]},
		{1000, 1000, picture.Size{Width: 320, Height: 241, Method: picture.Scale}, kept[3]},
		{1000, 1000, picture.Size{Width: 900, Height: 900, Method: picture.Scale}, whole},
		{30, 30, picture.Size{Width: 32, Height: 32, Method: picture.Crop}, whole},
		{300, 200, picture.Size{Width: 100, Height: 100, Method: picture.Scale}, whole}, // 320 by 240 is no smaller
		{300, 200, picture.Size{Width: 30, Height: 30, Method: picture.Crop}, kept[0]},
		{4000, 10, picture.Size{Width: 96, Height: 96, Method: picture.Crop}, kept[0]}, // 10 by 10 is all there is
		{4000, 10, picture.Size{Width: 100, Height: 100, Method: picture.Scale}, kept[2]},
	} {
		info := picture.Info{Width: c.width, Height: c.height}
		if got := picture.Choose(info, c.wish, kept); got != c.want {
			t.Errorf("%d by %d, wished %v: %v, want %v", c.width, c.height, c.wish, got, c.want)
		}
	}
}

// No thumbnail is larger than the picture, and none smaller than the wish.
func FuzzChoose(f *testing.F) {
	f.Add(uint16(1000), uint16(1000), uint16(96), uint16(96), true)
	f.Add(uint16(1), uint16(65535), uint16(65535), uint16(1), false)
	f.Add(uint16(320), uint16(241), uint16(319), uint16(239), false)
	f.Fuzz(func(t *testing.T, width, height, wishWidth, wishHeight uint16, crop bool) {
		info := picture.Info{Width: max(1, int(width)), Height: max(1, int(height))}
		wish := picture.Size{Width: max(1, int(wishWidth)), Height: max(1, int(wishHeight)), Method: picture.Scale}
		if crop {
			wish.Method = picture.Crop
		}
		size := picture.Choose(info, wish, kept)
		w, h := size.Measure(info)
		if w < 1 || h < 1 || w > info.Width || h > info.Height {
			t.Errorf("%v of %+v is %d by %d", size, info, w, h)
		}
		wantW, wantH := wish.Measure(info)
		if w < wantW || h < wantH {
			t.Errorf("%v of %+v is %d by %d; the wish %v is %d by %d", size, info, w, h, wish, wantW, wantH)
		}
	})
}
