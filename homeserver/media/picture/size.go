package picture

import (
	"image"
	"math"
)

// A Method is how a thumbnail gets its shape (Client-Server API § Thumbnails).
type Method string

// The methods of the specification.
const (
	Scale Method = "scale" // the whole picture, inside of a box
	Crop  Method = "crop"  // its middle, in the box's shape
)

// A Size is a box for thumbnails. The zero Size stands for the whole picture.
type Size struct {
	Width, Height int
	Method        Method
}

// Measure is how large the size makes a picture. It is never larger than the
// picture.
func (s Size) Measure(i Info) (width, height int) {
	if s == (Size{}) {
		return i.Width, i.Height
	}
	across, down := ratio(s.Width, i.Width), ratio(s.Height, i.Height)
	if s.Method == Crop {
		shrink := max(across, down, 1)
		return part(s.Width, 1/shrink), part(s.Height, 1/shrink)
	}
	factor := min(across, down, 1)
	return part(i.Width, factor), part(i.Height, factor)
}

func ratio(a, b int) float64 { return float64(a) / float64(b) }

// part is a part of a length, at least one pixel.
func part(n int, factor float64) int { return max(1, int(math.Round(float64(n)*factor))) }

// Choose is which of the sizes that are kept serves a wish best: the smallest
// that is no smaller than what was wished for, and of the same method if
// possible. Where none is large enough, or the picture is small, it is the
// whole picture (§ Thumbnails: servers never return a smaller one).
func Choose(i Info, wish Size, kept []Size) Size {
	if wish.Width >= i.Width && wish.Height >= i.Height {
		return Size{}
	}
	width, height := wish.Measure(i)
	var best Size
	for _, s := range kept {
		if s.Method == Crop && wish.Method != Crop {
			continue // it would cut off what was wished for
		}
		w, h := s.Measure(i)
		if w < width || h < height || w == i.Width && h == i.Height {
			continue
		}
		if best == (Size{}) || better(i, s, best, wish.Method) {
			best = s
		}
	}
	return best
}

// better compares two sizes that are both large enough.
func better(i Info, a, b Size, method Method) bool {
	if (a.Method == method) != (b.Method == method) {
		return a.Method == method
	}
	aw, ah := a.Measure(i)
	bw, bh := b.Measure(i)
	return aw*ah < bw*bh
}

// middle is the part of a picture, as it is stored, that has the shape of a
// thumbnail.
func middle(bounds image.Rectangle, width, height int) image.Rectangle {
	w, h := bounds.Dx(), bounds.Dy()
	factor := min(ratio(w, width), ratio(h, height))
	partW, partH := min(w, part(width, factor)), min(h, part(height, factor))
	at := bounds.Min.Add(image.Pt((w-partW)/2, (h-partH)/2))
	return image.Rectangle{at, at.Add(image.Pt(partW, partH))}
}
