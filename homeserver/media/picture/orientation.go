package picture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"image"
	"io"
)

// An orientation says how the rows and columns of a picture are shown, as
// Exif numbers them: 1 to 8, where 1 is as they are stored.
type orientation int

// swaps says whether rows are shown as columns.
func (o orientation) swaps() bool { return o >= 5 && o <= 8 }

// orientationOf reads the orientation of a JPEG file; 1 if it has none that
// makes sense. Cameras store it in the first segments, before the pixels.
func orientationOf(r io.Reader) orientation {
	in := bufio.NewReader(r)
	var marker [4]byte
	if _, err := io.ReadFull(in, marker[:2]); err != nil {
		return 1
	}
	for {
		if _, err := io.ReadFull(in, marker[:]); err != nil || marker[0] != 0xff {
			return 1
		}
		length := int(binary.BigEndian.Uint16(marker[2:])) - 2
		const app1, startOfFrame, startOfScan = 0xe1, 0xc0, 0xda
		if length < 0 || marker[1] == startOfFrame || marker[1] == startOfScan {
			return 1
		}
		if marker[1] != app1 {
			if _, err := in.Discard(length); err != nil {
				return 1
			}
			continue
		}
		segment := make([]byte, length)
		if _, err := io.ReadFull(in, segment); err != nil {
			return 1
		}
		// XMP has the same marker.
		if tiff, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok {
			return tiffOrientation(tiff)
		}
	}
}

// tiffOrientation reads tag 274 of the first directory of a TIFF structure
// (Exif 2.3 § 4.6.4).
func tiffOrientation(tiff []byte) orientation {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1
	}
	entries := int(order.Uint16(tiff[at:]))
	rest := tiff[at+2:]
	const tag, short, size = 274, 3, 12
	for range entries {
		if len(rest) < size {
			break
		}
		if order.Uint16(rest) == tag {
			value := orientation(order.Uint16(rest[8:]))
			if order.Uint16(rest[2:]) == short && value >= 1 && value <= 8 {
				return value
			}
			break
		}
		rest = rest[size:]
	}
	return 1
}

// turn shows a picture as its orientation says.
func turn(src *image.RGBA, o orientation) *image.RGBA {
	if o <= 1 || o > 8 {
		return src
	}
	w, h := src.Bounds().Dx(), src.Bounds().Dy()
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	if o.swaps() {
		dst = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			toX, toY := x, y
			switch o {
			case 2:
				toX = w - 1 - x
			case 3:
				toX, toY = w-1-x, h-1-y
			case 4:
				toY = h - 1 - y
			case 5:
				toX, toY = y, x
			case 6:
				toX, toY = h-1-y, x
			case 7:
				toX, toY = h-1-y, w-1-x
			case 8:
				toX, toY = y, w-1-x
			}
			copy(dst.Pix[dst.PixOffset(toX, toY):][:4], src.Pix[src.PixOffset(x, y):][:4])
		}
	}
	return dst
}
