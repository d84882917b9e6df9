package picture_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
)

// Pictures for tests, and the pieces that nothing in Go writes.

var corners = []color.RGBA{{255, 0, 0, 255}, {0, 255, 0, 255}, {0, 0, 255, 255}, {255, 255, 0, 255}}

// quarters is red, green / blue, yellow.
func quarters(width, height int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetRGBA(x, y, corners[2*(2*y/height)+2*x/width])
		}
	}
	return img
}

func encodePNG(img image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func encodeJPEG(img image.Image) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 95}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// encodeGIF has two frames; the first covers only a part of the canvas.
func encodeGIF(canvas, first image.Rectangle) []byte {
	palette := color.Palette{color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}}
	frames := []*image.Paletted{image.NewPaletted(first, palette), image.NewPaletted(canvas, palette)}
	for i := range frames[1].Pix {
		frames[1].Pix[i] = 1
	}
	var b bytes.Buffer
	err := gif.EncodeAll(&b, &gif.GIF{
		Image: frames, Delay: []int{1, 1}, Config: image.Config{ColorModel: palette, Width: canvas.Dx(), Height: canvas.Dy()},
	})
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// withOrientation puts an Exif segment into a JPEG file.
func withOrientation(file []byte, order binary.AppendByteOrder, value uint16) []byte {
	tiff := []byte("MM\x00*")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		tiff = []byte("II*\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2)
	entry := func(tag, value uint16) {
		tiff = order.AppendUint16(tiff, tag)
		tiff = order.AppendUint16(tiff, 3) // SHORT
		tiff = order.AppendUint32(tiff, 1)
		tiff = order.AppendUint16(tiff, value)
		tiff = order.AppendUint16(tiff, 0)
	}
	entry(259, 6)
	entry(274, value)
	segment := append([]byte("Exif\x00\x00"), tiff...)
	head := []byte{0xff, 0xd8, 0xff, 0xe1}
	head = binary.BigEndian.AppendUint16(head, uint16(len(segment)+2))
	return append(append(head, segment...), file[2:]...)
}

// pngChunk is a chunk with its checksum.
func pngChunk(kind string, data []byte) []byte {
	chunk := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	body := append([]byte(kind), data...)
	return binary.BigEndian.AppendUint32(append(chunk, body...), crc32.ChecksumIEEE(body))
}

// withPNGChunk puts a chunk behind the header of a PNG file.
func withPNGChunk(file []byte, chunk []byte) []byte {
	const header = 8 + 25
	return append(append(bytes.Clone(file[:header]), chunk...), file[header:]...)
}

// pngOf is a PNG file that says it has a size, and has no pixels.
func pngOf(width, height uint32) []byte {
	data := binary.BigEndian.AppendUint32(nil, width)
	data = binary.BigEndian.AppendUint32(data, height)
	file := append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", append(data, 8, 0, 0, 0, 0))...)
	return append(append(file, pngChunk("IDAT", nil)...), pngChunk("IEND", nil)...)
}

// A bitWriter writes what a VP8L decoder reads: the lowest bits first.
type bitWriter struct {
	bytes []byte
	n     int
}

func (w *bitWriter) write(value, bits int) {
	for i := range bits {
		if w.n%8 == 0 {
			w.bytes = append(w.bytes, 0)
		}
		w.bytes[w.n/8] |= byte(value>>i&1) << (w.n % 8)
		w.n++
	}
}

// vp8l is a lossless WebP picture of one colour: a few bytes, of any size
// (RFC 9649 § 3). Every code has one symbol, so that a pixel takes no bits.
func vp8l(width, height int, c color.NRGBA) []byte {
	w := &bitWriter{}
	w.write(0x2f, 8)
	w.write(width-1, 14)
	w.write(height-1, 14)
	w.write(1, 1) // alpha is used
	w.write(0, 3) // version
	w.write(0, 1) // no transform
	w.write(0, 1) // no color cache
	w.write(0, 1) // no meta prefix codes
	for _, symbol := range []byte{c.G, c.R, c.B, c.A, 0} {
		w.write(1, 1) // a simple code
		w.write(0, 1) // of one symbol
		w.write(1, 1) // which has eight bits
		w.write(int(symbol), 8)
	}
	return w.bytes
}

func riffChunk(kind string, data []byte) []byte {
	chunk := append([]byte(kind), binary.LittleEndian.AppendUint32(nil, uint32(len(data)))...)
	chunk = append(chunk, data...)
	if len(data)%2 == 1 {
		chunk = append(chunk, 0)
	}
	return chunk
}

func webpFile(chunks ...[]byte) []byte {
	return riffChunk("RIFF", append([]byte("WEBP"), bytes.Join(chunks, nil)...))
}

func uint24(n int) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16)} }

func vp8x(flags byte, width, height int) []byte {
	data := append([]byte{flags, 0, 0, 0}, uint24(width-1)...)
	return riffChunk("VP8X", append(data, uint24(height-1)...))
}

// animatedWebP has one frame of one colour somewhere on its canvas.
func animatedWebP(canvas image.Point, frame image.Rectangle, content []byte) []byte {
	head := bytes.Join([][]byte{uint24(frame.Min.X / 2), uint24(frame.Min.Y / 2), uint24(frame.Dx() - 1), uint24(frame.Dy() - 1), uint24(100), {0}}, nil)
	return webpFile(vp8x(1<<1|1<<4, canvas.X, canvas.Y), riffChunk("ANIM", make([]byte, 6)), riffChunk("ANMF", append(head, content...)))
}

// A moment is a frame of an animation: a rectangle of one of the colours that tests have.
type moment struct {
	area       image.Rectangle
	color      color.RGBA
	delay      uint16 // hundredths of a second
	after, how byte   // as the format says it
}

// webpOf is an animation that is shown so often.
func webpOf(canvas image.Point, plays uint16, moments ...moment) []byte {
	chunks := [][]byte{vp8x(1<<1|1<<4, canvas.X, canvas.Y), riffChunk("ANIM", binary.LittleEndian.AppendUint16(make([]byte, 4), plays))}
	for _, m := range moments {
		head := bytes.Join([][]byte{
			uint24(m.area.Min.X / 2), uint24(m.area.Min.Y / 2), uint24(m.area.Dx() - 1), uint24(m.area.Dy() - 1), uint24(10 * int(m.delay)), {m.after | m.how<<1},
		}, nil)
		still := vp8l(m.area.Dx(), m.area.Dy(), color.NRGBA(m.color))
		chunks = append(chunks, riffChunk("ANMF", append(head, riffChunk("VP8L", still)...)))
	}
	return webpFile(chunks...)
}

// apngOf is the same as a PNG. hidden is a picture for those who know no animations.
func apngOf(canvas image.Point, plays uint32, hidden bool, moments ...moment) []byte {
	first := encodePNG(frame(image.Rectangle{Max: canvas}, blue))
	file := bytes.Clone(first[:bytes.Index(first, []byte("PLTE"))-4])
	control := binary.BigEndian.AppendUint32(nil, uint32(len(moments)))
	file = append(file, pngChunk("acTL", binary.BigEndian.AppendUint32(control, plays))...)
	file = append(file, first[bytes.Index(first, []byte("PLTE"))-4:bytes.Index(first, []byte("IDAT"))-4]...)
	if hidden {
		file = append(file, pngChunk("IDAT", pixelsOf(first))...)
	}
	number := uint32(0)
	for i, m := range moments {
		var c []byte
		for _, n := range []int{int(number), m.area.Dx(), m.area.Dy(), m.area.Min.X, m.area.Min.Y} {
			c = binary.BigEndian.AppendUint32(c, uint32(n))
		}
		c = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(c, m.delay), 0) // of a hundred
		file = append(file, pngChunk("fcTL", append(c, m.after, m.how))...)
		number++
		pixels := pixelsOf(encodePNG(frame(m.area, m.color)))
		if i == 0 && !hidden {
			file = append(file, pngChunk("IDAT", pixels)...)
			continue
		}
		// In two parts, as it may be.
		for _, part := range [][]byte{pixels[:4], pixels[4:]} {
			file = append(file, pngChunk("fdAT", append(binary.BigEndian.AppendUint32(nil, number), part...))...)
			number++
		}
	}
	return append(file, pngChunk("IEND", nil)...)
}

// pixelsOf is the compressed pixels of a small PNG.
func pixelsOf(file []byte) []byte {
	at := bytes.Index(file, []byte("IDAT"))
	return file[at+4:][:binary.BigEndian.Uint32(file[at-4:])]
}
