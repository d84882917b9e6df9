package picture

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/gif"
)

// A film is an animation while it is made smaller: frames are put on a canvas as
// their file says, and what it shows then is kept. Each of the result is a whole picture.
type film struct {
	ctx           context.Context
	canvas        *image.RGBA
	before        []uint8 // the canvas's pixels, if they come back after the frame
	from          image.Rectangle
	width, height int
	colors        quantizer
	gif           gif.GIF
}

func newFilm(ctx context.Context, info Info, size Size) *film {
	f := &film{ctx: ctx, canvas: image.NewRGBA(info.stored()), from: info.stored()}
	f.width, f.height = size.Measure(info)
	if size.Method == Crop {
		f.from = middle(f.from, f.width, f.height)
	}
	f.gif.Config = image.Config{Width: f.width, Height: f.height}
	return f
}

// keep remembers the canvas, where it comes back after the next frame.
func (f *film) keep(after byte) {
	f.before = nil
	if after == gif.DisposalPrevious {
		f.before = append(f.before, f.canvas.Pix...)
	}
}

// show takes what the canvas shows for so many hundredths of a second.
func (f *film) show(delay int) error {
	small, err := resize(f.ctx, f.canvas, f.from, f.width, f.height)
	if err != nil {
		return err
	}
	f.gif.Image = append(f.gif.Image, f.colors.reduce(small))
	f.gif.Delay = append(f.gif.Delay, delay)
	return nil
}

// dispose does what is to be done with a frame before the next one.
func (f *film) dispose(after byte, area image.Rectangle) {
	switch after {
	case gif.DisposalPrevious:
		copy(f.canvas.Pix, f.before)
	case gif.DisposalBackground:
		draw.Draw(f.canvas, area, image.Transparent, image.Point{}, draw.Src)
	}
}

// A shot is a frame of a file whose frames are pictures of their own.
type shot struct {
	area  image.Rectangle
	over  bool // on top of what is there, and not in its place
	after byte // what becomes of it, as GIF has it
	delay int  // hundredths of a second
}

// put shows a shot, whose picture has the size that was announced.
func (f *film) put(s shot, img image.Image) error {
	if !s.area.In(f.canvas.Rect) || s.area.Empty() || img.Bounds().Size() != s.area.Size() {
		return fmt.Errorf("%w: a frame has another size or place than it says", ErrUnsupported)
	}
	how := draw.Src
	if s.over {
		how = draw.Over
	}
	f.keep(s.after)
	draw.Draw(f.canvas, s.area, img, img.Bounds().Min, how)
	if err := f.show(s.delay); err != nil {
		return err
	}
	f.dispose(s.after, s.area)
	return nil
}

// plays says how often a film is shown, 0 for ever, as GIF has it.
func (f *film) plays(times int) {
	switch times {
	case 0:
	case 1:
		f.gif.LoopCount = -1
	default:
		f.gif.LoopCount = min(times-1, 1<<16-1)
	}
}

// finish is the animation.
func (f *film) finish() *gif.GIF {
	disposal := byte(gif.DisposalNone)
	if f.colors.holes {
		disposal = gif.DisposalBackground // or the frame before would be seen through them
	}
	for range f.gif.Image {
		f.gif.Disposal = append(f.gif.Disposal, disposal)
	}
	return &f.gif
}
