package picture

import (
	"bufio"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"io"
)

// maxFrames bounds animations whose frames are next to nothing.
const maxFrames = 1000

// Moves says whether there can be thumbnails of the picture that move.
func (i Info) Moves() bool { return i.Animated }

// Animate writes an animation in a size as a GIF, frame by frame, as Render does a still
// picture. All frames together may have so many pixels, each counted as large
// as the whole; it returns ErrTooLarge if they have more, and ErrUnsupported
// for what does not move.
func Animate(ctx context.Context, r io.ReadSeeker, info Info, size Size, maxPixels int64, w io.Writer) (format Format, err error) {
	in := &input{ctx: ctx, r: r}
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: its decoder panicked: %v", ErrUnsupported, cause)
		}
	}()
	dst, err := animate(in, info, size, maxPixels)
	if err != nil {
		return "", in.blame(err)
	}
	return GIF, gif.EncodeAll(w, dst)
}

func animate(in *input, info Info, size Size, maxPixels int64) (*gif.GIF, error) {
	count := countFrames
	switch info.Format {
	case PNG:
		count = countAPNG
	case WebP:
		count = countWebP
	}
	if err := in.rewind(); err != nil {
		return nil, err
	}
	frames, err := count(in)
	switch {
	case err != nil:
		return nil, err
	case frames < 2:
		return nil, fmt.Errorf("%w: it stands still", ErrUnsupported)
	case frames > maxFrames || int64(frames)*info.Pixels() > maxPixels:
		return nil, ErrTooLarge
	}
	if err := in.rewind(); err != nil {
		return nil, err
	}
	f := newFilm(in.ctx, info, size)
	switch info.Format {
	case PNG:
		err = playAPNG(in, f)
	case WebP:
		err = playWebP(in, f)
	default:
		err = playGIF(in, f)
	}
	if err != nil {
		return nil, err
	}
	return f.finish(), nil
}

// countFrames walks over the blocks of a GIF file without decoding what is in
// them (GIF89a § 12 to 27). It stops where there are too many.
func countFrames(file *input) (frames int, err error) {
	in := bufio.NewReader(file)
	const header, image, extension, trailer = 13, 0x2c, 0x21, 0x3b
	head := make([]byte, header)
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, err
	}
	if err := skipColors(in, head[10]); err != nil {
		return 0, err
	}
	for frames <= maxFrames {
		kind, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		switch kind {
		case trailer:
			return frames, nil
		case extension:
			_, err = in.Discard(1) // its label
		case image:
			frames++
			descriptor := head[:9]
			if _, err = io.ReadFull(in, descriptor); err == nil {
				if err = skipColors(in, descriptor[8]); err == nil {
					_, err = in.Discard(1) // the width of codes
				}
			}
		default:
			return 0, fmt.Errorf("%w: a block of kind %#x", ErrUnsupported, kind)
		}
		if err == nil {
			err = skipBlocks(in)
		}
		if err != nil {
			return 0, err
		}
	}
	return frames, nil
}

// skipColors skips the table that flags announce, if they do.
func skipColors(in *bufio.Reader, flags byte) error {
	if flags&0x80 == 0 {
		return nil
	}
	_, err := in.Discard(3 << (flags&7 + 1))
	return err
}

// skipBlocks skips data up to the empty block that ends it.
func skipBlocks(in *bufio.Reader) error {
	for {
		length, err := in.ReadByte()
		if err != nil || length == 0 {
			return err
		}
		if _, err := in.Discard(int(length)); err != nil {
			return err
		}
	}
}

// playGIF shows all frames of a GIF.
func playGIF(in *input, f *film) error {
	src, err := gif.DecodeAll(in)
	if err != nil {
		return err
	}
	f.gif.LoopCount = src.LoopCount
	for i, frame := range src.Image {
		after := src.Disposal[i]
		f.keep(after)
		paint(f.canvas, frame)
		if err := f.show(src.Delay[i]); err != nil {
			return err
		}
		f.dispose(after, frame.Rect)
	}
	return nil
}

// paint puts a frame on top of what is there.
func paint(canvas *image.RGBA, frame *image.Paletted) {
	var colors [256]color.RGBA
	for i, c := range frame.Palette {
		colors[i] = color.RGBAModel.Convert(c).(color.RGBA)
	}
	area := frame.Rect.Intersect(canvas.Rect)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		from := frame.Pix[frame.PixOffset(area.Min.X, y):][:area.Dx()]
		to := canvas.Pix[canvas.PixOffset(area.Min.X, y):]
		for x, index := range from {
			if c := colors[index]; c.A != 0 {
				to[4*x], to[4*x+1], to[4*x+2], to[4*x+3] = c.R, c.G, c.B, c.A
			}
		}
	}
}
