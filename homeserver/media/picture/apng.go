package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/gif"
	"image/png"
	"io"
)

// Animations among PNGs (Portable Network Graphics, 3rd edition, § 11.3.6). Each frame is
// decoded as a file of its own, with the header and the colours of the whole.

const pngSignature = "\x89PNG\r\n\x1a\n"

// eachChunk calls use for the chunks of a PNG up to its end.
func eachChunk(in *input, use func(kind string, length uint32) error) error {
	if _, err := in.Seek(int64(len(pngSignature)), io.SeekStart); err != nil {
		return err
	}
	const most = 1 << 20 // chunks; a megapixel of the smallest ones
	for range most {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		kind, length := string(head[4:]), binary.BigEndian.Uint32(head[:4])
		if kind == "IEND" {
			return nil
		}
		at, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := use(kind, length); err != nil {
			return err
		}
		if _, err := in.Seek(at+int64(length)+4, io.SeekStart); err != nil { // the sum is not looked at
			return err
		}
	}
	return fmt.Errorf("%w: it has no end", ErrUnsupported)
}

// countAPNG walks over the chunks without decoding what is in them.
func countAPNG(in *input) (frames int, err error) {
	err = eachChunk(in, func(kind string, _ uint32) error {
		if kind == "fcTL" {
			frames++
		}
		if frames > maxFrames {
			return ErrTooLarge
		}
		return nil
	})
	return frames, err
}

// An apng is one while its frames are shown.
type apng struct {
	film   *film
	header []byte // the content of IHDR
	colors []byte // the chunks PLTE and tRNS
	frame  *shot  // nil before the first
	data   []byte // of the frame, compressed
}

// maxColors bounds what goes with every frame, in bytes: a palette of 256 and what is transparent.
const maxColors = 2 << 10

// mostData bounds what is kept of one frame, in bytes: noise of two bytes for each channel.
func (a *apng) mostData() int { return 3*len(a.film.canvas.Pix) + 64<<10 }

func playAPNG(in *input, f *film) error {
	a := &apng{film: f}
	err := eachChunk(in, func(kind string, length uint32) error {
		switch kind {
		case "IHDR", "PLTE", "tRNS", "acTL", "fcTL", "IDAT", "fdAT":
		default:
			return nil
		}
		if int64(length)+int64(len(a.data)) > int64(a.mostData()) {
			return ErrUnsupported
		}
		content := make([]byte, length)
		if _, err := io.ReadFull(in, content); err != nil {
			return err
		}
		return a.take(kind, content)
	})
	if err != nil {
		return err
	}
	return a.show()
}

func (a *apng) take(kind string, content []byte) error {
	short := fmt.Errorf("%w: the chunk %s is too short", ErrUnsupported, kind)
	switch kind {
	case "IHDR":
		if len(content) != 13 {
			return short
		}
		a.header = content
	case "PLTE", "tRNS":
		if len(a.colors)+len(content) > maxColors {
			return fmt.Errorf("%w: it has too many colours", ErrUnsupported)
		}
		a.colors = appendChunk(a.colors, kind, content)
	case "acTL":
		if len(content) < 8 {
			return short
		}
		a.film.plays(int(binary.BigEndian.Uint32(content[4:])))
	case "fcTL":
		if len(content) < 26 {
			return short
		}
		if err := a.show(); err != nil {
			return err
		}
		a.begin(content)
	case "IDAT":
		if a.frame != nil { // without one, the picture is for those who know no animations
			a.data = append(a.data, content...)
		}
	case "fdAT":
		if len(content) < 4 {
			return short
		}
		a.data = append(a.data, content[4:]...)
	}
	return nil
}

// begin reads what is said of a frame.
func (a *apng) begin(control []byte) {
	number := func(at int) int { return int(binary.BigEndian.Uint32(control[at:]) & (1<<31 - 1)) }
	at := image.Pt(number(12), number(16))
	numerator, denominator := int(binary.BigEndian.Uint16(control[20:])), int(binary.BigEndian.Uint16(control[22:]))
	if denominator == 0 {
		denominator = 100
	}
	a.frame = &shot{
		area: image.Rectangle{at, at.Add(image.Pt(number(4), number(8)))}, over: control[25] == 1,
		delay: (100*numerator + denominator/2) / denominator,
	}
	switch control[24] {
	case 1:
		a.frame.after = gif.DisposalBackground
	case 2:
		a.frame.after = gif.DisposalPrevious
	}
	a.data = nil
}

// show decodes the frame that is complete now, if there is one.
func (a *apng) show() error {
	if a.frame == nil {
		return nil
	}
	if a.header == nil || !a.frame.area.In(a.film.canvas.Rect) || a.frame.area.Empty() {
		return errors.New("a frame is outside of the canvas")
	}
	header := bytes.Clone(a.header)
	binary.BigEndian.PutUint32(header, uint32(a.frame.area.Dx()))
	binary.BigEndian.PutUint32(header[4:], uint32(a.frame.area.Dy()))
	file := appendChunk([]byte(pngSignature), "IHDR", header)
	file = append(file, a.colors...)
	file = appendChunk(file, "IDAT", a.data)
	file = appendChunk(file, "IEND", nil)
	img, err := png.Decode(&input{ctx: a.film.ctx, r: bytes.NewReader(file)})
	if err != nil {
		return err
	}
	return a.film.put(*a.frame, img)
}

func appendChunk(file []byte, kind string, content []byte) []byte {
	file = binary.BigEndian.AppendUint32(file, uint32(len(content)))
	from := len(file)
	file = append(append(file, kind...), content...)
	return binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(file[from:]))
}
