package picture

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// An input is a picture's bytes. It ends with its context, because there are
// small pictures that take minutes to decode, and it knows whether reading
// failed, which is not the picture's fault.
type input struct {
	ctx context.Context
	r   io.ReadSeeker
	err error // of the reader
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		in.err = err
	}
	return n, err
}

// Seek implements io.Seeker.
func (in *input) Seek(offset int64, whence int) (int64, error) {
	at, err := in.r.Seek(offset, whence)
	if err != nil {
		in.err = err
	}
	return at, err
}

func (in *input) rewind() error {
	_, err := in.Seek(0, io.SeekStart)
	return err
}

// blame says whose fault an error is.
func (in *input) blame(err error) error {
	switch {
	case in.err != nil:
		return in.err
	case errors.Is(err, ErrUnsupported), errors.Is(err, ErrTooLarge):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnsupported, err)
}
