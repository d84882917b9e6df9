// Package picture makes thumbnails of pictures that strangers have sent. It
// looks at a picture's header before it believes anything, decodes only what
// fits the limits, and touches neither disk nor network.
package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
)

// A Format is a kind of file, by its content type.
type Format string

// The formats that are understood.
const (
	JPEG Format = "image/jpeg"
	PNG  Format = "image/png"
	GIF  Format = "image/gif"
	WebP Format = "image/webp"
)

// Extension is what file names of the format end in.
func (f Format) Extension() string {
	switch f {
	case JPEG:
		return ".jpg"
	case PNG:
		return ".png"
	case GIF:
		return ".gif"
	case WebP:
		return ".webp"
	}
	return ""
}

// MaxSide is the most pixels that a picture may have in a row or a column. It
// bounds the tables of the scaler; JPEG has no larger ones.
const MaxSide = 1<<16 - 1

var (
	// ErrUnsupported is wrapped by the errors of whatever is no picture, or no
	// whole one.
	ErrUnsupported = errors.New("not a picture of a known format")
	// ErrTooLarge is returned for pictures with too many pixels.
	ErrTooLarge = errors.New("too many pixels")
)

// Info is what a picture's header tells.
type Info struct {
	Format        Format
	Width, Height int // in pixels, as it is shown
	Animated      bool
	orientation   orientation
}

// Pixels is how many pixels have to be decoded.
func (i Info) Pixels() int64 { return int64(i.Width) * int64(i.Height) }

// stored is the picture's rectangle as it is stored.
func (i Info) stored() image.Rectangle {
	if i.orientation.swaps() {
		return image.Rect(0, 0, i.Height, i.Width)
	}
	return image.Rect(0, 0, i.Width, i.Height)
}

// Probe reads the header of a picture with at most so many pixels. The format
// is told by the first bytes, never by what the sender says.
func Probe(ctx context.Context, r io.ReadSeeker, maxPixels int64) (info Info, err error) {
	in := &input{ctx: ctx, r: r}
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: its decoder panicked: %v", ErrUnsupported, cause)
		}
	}()
	info, err = probe(in)
	switch {
	case err != nil:
		return Info{}, in.blame(err)
	case info.Width < 1 || info.Height < 1:
		return Info{}, fmt.Errorf("%w: it is empty", ErrUnsupported)
	case info.Width > MaxSide || info.Height > MaxSide || info.Pixels() > maxPixels:
		return Info{}, ErrTooLarge
	}
	return info, nil
}

func probe(in *input) (Info, error) {
	format, err := sniff(in)
	if err != nil {
		return Info{}, err
	}
	if err := in.rewind(); err != nil {
		return Info{}, err
	}
	switch format {
	case JPEG:
		return probeJPEG(in)
	case PNG:
		return probePNG(in)
	case GIF:
		// Whether there is a second picture is known at the end of the file
		// only, and a GIF that stands still is rare.
		config, err := gif.DecodeConfig(in)
		return Info{Format: GIF, Width: config.Width, Height: config.Height, Animated: true}, err
	default:
		return probeWebP(in)
	}
}

// sniff tells the format by the first bytes.
func sniff(in *input) (Format, error) {
	if err := in.rewind(); err != nil {
		return "", err
	}
	var head [12]byte
	n, err := io.ReadFull(in, head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	begins := head[:n]
	switch {
	case bytes.HasPrefix(begins, []byte("\xff\xd8\xff")):
		return JPEG, nil
	case bytes.HasPrefix(begins, []byte("\x89PNG\r\n\x1a\n")):
		return PNG, nil
	case bytes.HasPrefix(begins, []byte("GIF87a")), bytes.HasPrefix(begins, []byte("GIF89a")):
		return GIF, nil
	case n == len(head) && string(head[:4]) == "RIFF" && string(head[8:]) == "WEBP":
		return WebP, nil
	}
	return "", ErrUnsupported
}

func probeJPEG(in *input) (Info, error) {
	config, err := jpeg.DecodeConfig(in)
	if err != nil {
		return Info{}, err
	}
	if err := in.rewind(); err != nil {
		return Info{}, err
	}
	info := Info{Format: JPEG, Width: config.Width, Height: config.Height, orientation: orientationOf(in)}
	if info.orientation.swaps() {
		info.Width, info.Height = info.Height, info.Width
	}
	return info, nil
}

func probePNG(in *input) (Info, error) {
	config, err := png.DecodeConfig(in)
	if err != nil {
		return Info{}, err
	}
	animated, err := isAPNG(in)
	return Info{Format: PNG, Width: config.Width, Height: config.Height, Animated: animated}, err
}

// isAPNG looks for the chunk that announces an animation. It has to stand
// before the pixels (Portable Network Graphics, 3rd edition, § 11.3.6.1).
func isAPNG(in *input) (bool, error) {
	if _, err := in.Seek(8, io.SeekStart); err != nil {
		return false, err
	}
	const most = 1000 // chunks; real files have a dozen
	for range most {
		var head [8]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return false, err
		}
		switch string(head[4:]) {
		case "acTL":
			return true, nil
		case "IDAT", "IEND":
			return false, nil
		}
		length := int64(head[0])<<24 | int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
		if _, err := in.Seek(length+4, io.SeekCurrent); err != nil {
			return false, err
		}
	}
	return false, fmt.Errorf("%w: no pixels in the first %d chunks", ErrUnsupported, most)
}
