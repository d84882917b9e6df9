package picture

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	scaling "golang.org/x/image/draw"
)

// jpegQuality makes thumbnails a tenth of what PNG makes of photographs.
const jpegQuality = 82

// Render writes a picture, still, in a size, and returns the format that it
// chose: JPEG, or PNG where there is something to see through. Info is what
// Probe said about the same bytes. It stops soon after the context's end.
//
// Decoders are complicated and their input is hostile: a panic of one is an
// error here.
func Render(ctx context.Context, r io.ReadSeeker, info Info, size Size, w io.Writer) (format Format, err error) {
	in := &input{ctx: ctx, r: r}
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: its decoder panicked: %v", ErrUnsupported, cause)
		}
	}()
	if err := in.rewind(); err != nil {
		return "", err
	}
	src, err := decode(in, info)
	if err != nil {
		return "", in.blame(err)
	}
	width, height := size.Measure(info)
	if info.orientation.swaps() {
		width, height = height, width
	}
	// Not what the decoder says: the first frame of a GIF may be smaller.
	from := info.stored()
	if size.Method == Crop {
		from = middle(from, width, height)
	}
	dst, err := resize(ctx, src, from, width, height)
	if err != nil {
		return "", in.blame(err)
	}
	return encode(w, turn(dst, info.orientation))
}

func decode(r io.Reader, info Info) (image.Image, error) {
	switch info.Format {
	case JPEG:
		return jpeg.Decode(r)
	case PNG:
		return png.Decode(r)
	case GIF:
		return gif.Decode(r)
	case WebP:
		return decodeWebP(r, info)
	}
	return nil, ErrUnsupported
}

// resize makes a part of a picture smaller, in two steps: blocks of pixels are
// averaged, which needs little memory, until the picture is at most four times
// too large; the rest is done well.
func resize(ctx context.Context, src image.Image, from image.Rectangle, width, height int) (*image.RGBA, error) {
	blockW, blockH := max(1, from.Dx()/width/2), max(1, from.Dy()/height/2)
	rough, err := average(ctx, src, from, blockW, blockH)
	if err != nil || rough.Bounds().Dx() == width && rough.Bounds().Dy() == height {
		return rough, err
	}
	dst := image.NewRGBA(image.Rect(0, 0, width, height))
	scaling.CatmullRom.Scale(dst, dst.Bounds(), rough, rough.Bounds(), scaling.Src, nil)
	return dst, nil
}

// average makes one pixel of each block. What is left over at the right and
// at the bottom, less than half a pixel of the thumbnail, is cut off.
func average(ctx context.Context, src image.Image, from image.Rectangle, blockW, blockH int) (*image.RGBA, error) {
	width, height := from.Dx()/blockW, from.Dy()/blockH
	dst := image.NewRGBA(image.Rect(0, 0, width, height))
	row := image.NewRGBA(image.Rect(0, 0, width*blockW, 1))
	sums := make([]uint64, 4*width)
	for y := range height {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		clear(sums)
		for line := range blockH {
			clear(row.Pix)
			draw.Draw(row, row.Bounds(), src, from.Min.Add(image.Pt(0, y*blockH+line)), draw.Src)
			for x := range width {
				sum, pixels := sums[4*x:4*x+4], row.Pix[4*x*blockW:4*(x+1)*blockW]
				for ; len(pixels) > 0; pixels = pixels[4:] {
					sum[0] += uint64(pixels[0])
					sum[1] += uint64(pixels[1])
					sum[2] += uint64(pixels[2])
					sum[3] += uint64(pixels[3])
				}
			}
		}
		count := uint64(blockW * blockH)
		for i, sum := range sums {
			dst.Pix[y*dst.Stride+i] = uint8((sum + count/2) / count)
		}
	}
	return dst, nil
}

func encode(w io.Writer, img *image.RGBA) (Format, error) {
	if img.Opaque() {
		return JPEG, jpeg.Encode(w, img, &jpeg.Options{Quality: jpegQuality})
	}
	return PNG, png.Encode(w, img)
}
