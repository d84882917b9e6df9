package picture

import (
	"cmp"
	"image"
	"image/color"
	"slices"
)

// A quantizer reduces pictures to the colors that a GIF can have: one to see
// through, and the 255 that are most of the picture. Colors that differ in the
// lowest three bits only count as one, which is their mean.
type quantizer struct {
	holes   bool // something can be seen through
	shades  [1 << 15]shade
	nearest [1 << 15]uint8 // the index of a shade's color
}

// A shade is the sum of pixels.
type shade struct{ r, g, b, n uint32 }

func (s shade) mean() color.RGBA {
	return color.RGBA{uint8(s.r / s.n), uint8(s.g / s.n), uint8(s.b / s.n), 255}
}

func (q *quantizer) reduce(src *image.RGBA) *image.Paletted {
	clear(q.shades[:])
	var used []uint16
	for pix := src.Pix; len(pix) >= 4; pix = pix[4:] {
		i, ok := shadeOf(pix)
		if !ok {
			continue
		}
		s := &q.shades[i]
		if s.n == 0 {
			used = append(used, i)
		}
		s.r, s.g, s.b, s.n = s.r+uint32(pix[0]), s.g+uint32(pix[1]), s.b+uint32(pix[2]), s.n+1
	}
	slices.SortFunc(used, func(a, b uint16) int {
		return cmp.Or(cmp.Compare(q.shades[b].n, q.shades[a].n), cmp.Compare(a, b))
	})
	palette := color.Palette{color.RGBA{}}
	for _, i := range used[:min(len(used), 255)] {
		palette = append(palette, q.shades[i].mean())
	}
	for _, i := range used {
		q.nearest[i] = closest(palette[1:], q.shades[i].mean()) + 1
	}
	dst := image.NewPaletted(src.Rect, palette)
	for i := range dst.Pix {
		if s, ok := shadeOf(src.Pix[4*i:]); ok {
			dst.Pix[i] = q.nearest[s]
		} else {
			q.holes = true
		}
	}
	return dst
}

// shadeOf is the shade of a pixel that is not seen through. What is left of
// half-transparent edges is made whole.
func shadeOf(pix []byte) (shade uint16, ok bool) {
	if pix[3] < 128 {
		return 0, false
	}
	return uint16(pix[0]>>3)<<10 | uint16(pix[1]>>3)<<5 | uint16(pix[2]>>3), true
}

// closest is the index of the color that differs least.
func closest(palette color.Palette, from color.RGBA) uint8 {
	best, least := 0, 1<<30
	for i, c := range palette {
		c := c.(color.RGBA)
		r, g, b := int(c.R)-int(from.R), int(c.G)-int(from.G), int(c.B)-int(from.B)
		if difference := r*r + g*g + b*b; difference < least {
			best, least = i, difference
		}
	}
	return uint8(best)
}
