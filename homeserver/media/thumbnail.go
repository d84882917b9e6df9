package media

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"trestle/homeserver/media/picture"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Wish is the thumbnail that a client would like.
type Wish struct {
	Width, Height int64
	Method        string // scale, crop, or empty for scale
	Animated      bool   // a moving one is welcome
}

// size checks a wish.
func (w Wish) size() (picture.Size, error) {
	method := picture.Method(w.Method)
	if w.Method == "" {
		method = picture.Scale
	}
	switch {
	case w.Width < 1 || w.Height < 1:
		return picture.Size{}, matrix.InvalidParam("A thumbnail needs a width and a height of at least 1.")
	case method != picture.Scale && method != picture.Crop:
		return picture.Size{}, matrix.InvalidParam("The method of a thumbnail is scale or crop, not %.40q.", w.Method)
	}
	// Nothing is larger; and what is not stays in the range of int.
	return picture.Size{
		Width: int(min(w.Width, picture.MaxSide)), Height: int(min(w.Height, picture.MaxSide)), Method: method,
	}, nil
}

// A Thumbnail is content, too.
type Thumbnail struct {
	Hash   Hash
	Format picture.Format
}

// renderKey is a thumbnail that is being made.
type renderKey struct {
	hash  Hash
	size  picture.Size
	moves bool // if it can
}

// row is where it is kept.
func (k renderKey) row() storage.MediaThumbnail {
	return storage.MediaThumbnail{
		Hash: k.hash[:], Width: k.size.Width, Height: k.size.Height, Method: string(k.size.Method), Animated: k.moves,
	}
}

// Thumbnail is a picture in one of the configured sizes: the one next to what
// is wished for. Pictures that are small already come as they are.
func (s *Service) Thumbnail(ctx context.Context, m *Media, w Wish) (Thumbnail, error) {
	wish, err := w.size()
	if err != nil {
		return Thumbnail{}, err
	}
	info, err := s.probe(ctx, m.Hash)
	if err != nil {
		return Thumbnail{}, s.refusal(m, err)
	}
	size := picture.Choose(info, wish, s.options.Thumbnails)
	if size == (picture.Size{}) && (!info.Animated || w.Animated) {
		return Thumbnail{m.Hash, info.Format}, nil
	}
	key := renderKey{m.Hash, size, w.Animated && info.Moves()}
	t, found, err := s.made(ctx, key)
	if err != nil || found {
		return t, err
	}
	t, err = s.renders.do(ctx, key, func(ctx context.Context) (Thumbnail, error) {
		if t, found, err := s.made(ctx, key); err != nil || found {
			return t, err // meanwhile
		}
		return s.render(ctx, key, info)
	})
	if err != nil {
		return Thumbnail{}, s.refusal(m, err)
	}
	return t, nil
}

// refusal says why there is no thumbnail (§ Thumbnails and GET
// /_matrix/client/v1/media/thumbnail).
func (s *Service) refusal(m *Media, err error) error {
	switch {
	case errors.Is(err, picture.ErrTooLarge):
		status := http.StatusRequestEntityTooLarge
		if !s.local(m.URI) {
			status = http.StatusBadGateway
		}
		return matrix.NewError(status, "M_TOO_LARGE", "This picture is too large for thumbnails.")
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, picture.ErrUnsupported):
		return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "There are no thumbnails of this kind of content.")
	}
	return err
}

// probe looks at the header of a picture, once.
func (s *Service) probe(ctx context.Context, hash Hash) (picture.Info, error) {
	if known, ok := s.pictures.Get(hash); ok {
		return known.info, known.err
	}
	file, err := s.Open(ctx, hash)
	if err != nil {
		return picture.Info{}, err
	}
	defer file.Close()
	info, err := picture.Probe(ctx, file, s.options.MaxPixels)
	if err == nil || ctx.Err() == nil && (errors.Is(err, picture.ErrUnsupported) || errors.Is(err, picture.ErrTooLarge)) {
		s.pictures.Put(hash, verdict{info, err})
	}
	return info, err
}

// made is a thumbnail, if it exists.
func (s *Service) made(ctx context.Context, key renderKey) (t Thumbnail, found bool, err error) {
	row := key.row()
	found, err = s.options.Store.Thumbnail(ctx, &row)
	if err == nil && found {
		t.Format = picture.Format(row.ContentType)
		copy(t.Hash[:], row.Thumbnail)
	}
	return t, found, err
}

// render makes a thumbnail and keeps it.
func (s *Service) render(ctx context.Context, key renderKey, info picture.Info) (t Thumbnail, err error) {
	weight := s.weight(info)
	if key.moves {
		weight = s.options.MaxPixels // one at a time
	}
	if err := s.pixels.Acquire(ctx, weight); err != nil {
		return t, err
	}
	defer s.pixels.Release(weight)
	file, err := s.Open(ctx, key.hash)
	if err != nil {
		return t, err
	}
	defer file.Close()
	var encoded bytes.Buffer
	limited, cancel := context.WithTimeout(ctx, s.options.ThumbnailTime)
	defer cancel()
	t.Format, err = draw(limited, file, info, key, s.options.MaxPixels, &encoded)
	if err != nil {
		if errors.Is(err, picture.ErrUnsupported) && ctx.Err() == nil {
			s.pictures.Put(key.hash, verdict{info, err}) // it will not get better
		}
		return t, err
	}
	size := int64(encoded.Len())
	hash, _, named, err := s.keep(ctx, &encoded, size)
	if err != nil {
		return t, err
	}
	defer named()
	t.Hash = hash
	return t, s.options.DB.Update(ctx, func(tx *database.Tx) error {
		row := key.row()
		row.Thumbnail, row.ContentType, row.Size, row.CreatedAt = t.Hash[:], string(t.Format), size, s.options.Now().UnixMilli()
		return s.options.Store.AddThumbnail(ctx, tx, row)
	})
}

// draw writes a thumbnail: one that moves where that is wanted, unless the
// animation is too long or cannot be read to its end.
func draw(ctx context.Context, file io.ReadSeeker, info picture.Info, key renderKey, maxPixels int64, w *bytes.Buffer) (picture.Format, error) {
	if key.moves {
		// A frame has one byte for a pixel, and not four.
		format, err := picture.Animate(ctx, file, info, key.size, 2*maxPixels, w)
		if !errors.Is(err, picture.ErrTooLarge) && (!errors.Is(err, picture.ErrUnsupported) || ctx.Err() != nil) {
			return format, err
		}
		w.Reset()
	}
	return picture.Render(ctx, file, info, key.size, w)
}
