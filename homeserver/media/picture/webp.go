package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"io"

	"golang.org/x/image/riff"
	"golang.org/x/image/webp"
)

// webpAnimationBit is the flag of a VP8X chunk (RFC 9649 § 2.7).
const (
	webpAnimationBit = 1 << 1
	webpAlphaBit     = 1 << 4
	// The flags of a frame.
	webpDispose = 1 << 0
	webpInstead = 1 << 1
)

func probeWebP(in *input) (Info, error) {
	var head [21]byte // RIFF header, chunk header, flags of VP8X
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return Info{}, err
	}
	animated := string(head[12:16]) == "VP8X" && head[20]&webpAnimationBit != 0
	if err := in.rewind(); err != nil {
		return Info{}, err
	}
	config, err := webp.DecodeConfig(in)
	return Info{Format: WebP, Width: config.Width, Height: config.Height, Animated: animated}, err
}

// decodeWebP decodes a still picture, or the first frame of an animation.
func decodeWebP(r io.Reader, info Info) (image.Image, error) {
	if !info.Animated {
		return webp.Decode(r)
	}
	frame, err := firstFrame(r)
	if err != nil {
		return nil, err
	}
	canvas := image.Rect(0, 0, info.Width, info.Height)
	if !frame.bounds.In(canvas) {
		return nil, errors.New("the first frame is outside of the canvas")
	}
	img, err := webp.Decode(frame.file())
	if err != nil {
		return nil, err
	}
	if img.Bounds().Size() != frame.bounds.Size() {
		return nil, errors.New("the first frame has another size than it says")
	}
	return placed{img, frame.bounds.Min, canvas}, nil
}

// A webpFrame is a frame of an animation. Its content is chunks.
type webpFrame struct {
	bounds  image.Rectangle
	content io.Reader
	length  uint32
}

// firstFrame finds the first frame of an animation (RFC 9649 § 2.7.1.1).
func firstFrame(r io.Reader) (*webpFrame, error) {
	var first *webpFrame
	_, err := eachFrame(r, func(f *webpFrame, _ [16]byte) (more bool, err error) {
		first = f
		return false, nil
	})
	if err == nil && first == nil {
		err = errors.New("there is no first frame")
	}
	return first, err
}

// eachFrame calls use for the frames of an animation, with their headers, as long as it wants
// more. plays is how often all of them are shown, 0 for ever.
func eachFrame(r io.Reader, use func(f *webpFrame, head [16]byte) (more bool, err error)) (plays int, err error) {
	form, chunks, err := riff.NewReader(r)
	if err != nil {
		return 0, err
	}
	if form != (riff.FourCC{'W', 'E', 'B', 'P'}) {
		return 0, ErrUnsupported
	}
	for {
		id, length, data, err := chunks.Next()
		switch {
		case errors.Is(err, io.EOF):
			return plays, nil
		case err != nil:
			return 0, fmt.Errorf("look for frames: %w", err)
		}
		var head [16]byte
		switch id {
		case riff.FourCC{'A', 'N', 'I', 'M'}:
			if _, err := io.ReadFull(data, head[:6]); err != nil {
				return 0, err
			}
			plays = int(binary.LittleEndian.Uint16(head[4:]))
		case riff.FourCC{'A', 'N', 'M', 'F'}:
			if _, err := io.ReadFull(data, head[:]); err != nil {
				return 0, err
			}
			x, y := 2*uint24(head[0:]), 2*uint24(head[3:])
			w, h := uint24(head[6:])+1, uint24(head[9:])+1
			more, err := use(&webpFrame{image.Rect(x, y, x+w, y+h), data, length - uint32(len(head))}, head)
			if err != nil || !more {
				return plays, err
			}
		}
	}
}

// countWebP walks over the frames. It stops where there are too many.
func countWebP(in *input) (frames int, err error) {
	_, err = eachFrame(in, func(*webpFrame, [16]byte) (bool, error) {
		frames++
		return frames <= maxFrames, nil
	})
	return frames, err
}

// playWebP shows all frames. A background colour is not shown: viewers may leave it out, and
// what is transparent stays so.
func playWebP(in *input, f *film) error {
	plays, err := eachFrame(in, func(frame *webpFrame, head [16]byte) (more bool, err error) {
		if !frame.bounds.In(f.canvas.Rect) {
			return false, errors.New("a frame is outside of the canvas")
		}
		img, err := webp.Decode(frame.file())
		if err != nil {
			return false, err
		}
		s := shot{area: frame.bounds, over: head[15]&webpInstead == 0, delay: (uint24(head[12:]) + 5) / 10}
		if head[15]&webpDispose != 0 {
			s.after = gif.DisposalBackground
		}
		return true, f.put(s, img)
	})
	f.plays(plays)
	return err
}

// file is the frame as a file of its own. The decoder holds the header that
// is put before it against the picture inside.
func (f *webpFrame) file() io.Reader {
	var first [4]byte
	n, _ := io.ReadFull(f.content, first[:])
	var flags byte
	if string(first[:n]) == "ALPH" {
		flags = webpAlphaBit
	}
	head := []byte("RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00")
	binary.LittleEndian.PutUint32(head[4:], 4+18+f.length)
	size := f.bounds.Size()
	head = append(head, flags, 0, 0, 0)
	head = appendUint24(head, size.X-1)
	head = appendUint24(head, size.Y-1)
	return io.MultiReader(bytes.NewReader(head), bytes.NewReader(first[:n]), f.content)
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func appendUint24(b []byte, n int) []byte { return append(b, byte(n), byte(n>>8), byte(n>>16)) }

// placed is a picture somewhere on a larger, empty canvas.
type placed struct {
	image  image.Image
	at     image.Point
	canvas image.Rectangle
}

// ColorModel implements image.Image.
func (p placed) ColorModel() color.Model { return color.RGBAModel }

// Bounds implements image.Image.
func (p placed) Bounds() image.Rectangle { return p.canvas }

// At implements image.Image.
func (p placed) At(x, y int) color.Color {
	at := image.Pt(x, y).Sub(p.at).Add(p.image.Bounds().Min)
	if !at.In(p.image.Bounds()) {
		return color.RGBA{}
	}
	return p.image.At(at.X, at.Y)
}
