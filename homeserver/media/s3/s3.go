// Package s3 keeps media in a bucket of a service that speaks S3.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"trestle/homeserver/media"
)

// Options say where the bucket is.
type Options struct {
	Endpoint             string // https://s3.example.org
	Bucket               string
	Prefix               string // of the objects' names
	Region               string
	AccessKey, SecretKey string
	PathStyle            bool   // the bucket is in the path, not in the host
	Spool                string // folder for uploads that are not whole yet
}

// A Bucket is [media.Files]: an object for each content, named by its hash. An
// upload is spooled to disk, since its name is known at its end only.
type Bucket struct {
	options Options
	core    *minio.Core
}

var _ media.Files = (*Bucket)(nil)

// New makes a Bucket. It speaks to nobody yet.
func New(o Options) (*Bucket, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Region == "" {
		o.Region = "us-east-1" // what services without regions want to read
	}
	style := minio.BucketLookupDNS
	if o.PathStyle {
		style = minio.BucketLookupPath
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: u.Scheme == "https", Region: o.Region, BucketLookup: style,
	})
	if err != nil {
		return nil, fmt.Errorf("the bucket for media: %w", err)
	}
	if err := os.MkdirAll(o.Spool, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for uploads: %w", err)
	}
	return &Bucket{o, core}, nil
}

func (b *Bucket) name(hash media.Hash) string { return b.options.Prefix + hash.String() }

// Open implements media.Files.
func (b *Bucket) Open(ctx context.Context, hash media.Hash) (io.ReadSeekCloser, error) {
	object, err := b.core.Client.GetObject(ctx, b.options.Bucket, b.name(hash), minio.GetObjectOptions{})
	if err != nil {
		return nil, translated(err)
	}
	if _, err := object.Stat(); err != nil {
		object.Close()
		return nil, b.missing(ctx, translated(err))
	}
	return object, nil
}

// missing tells a bucket that is not there from an object that is not: the answer to
// HEAD has no body that would say which it is. Where it is not allowed to ask for the
// bucket, that is there.
func (b *Bucket) missing(ctx context.Context, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if there, failed := b.core.BucketExists(ctx, b.options.Bucket); failed == nil && !there {
		return fmt.Errorf("there is no bucket %q", b.options.Bucket)
	}
	return err
}

// translated makes fs.ErrNotExist of what says the same.
func translated(err error) error {
	var response minio.ErrorResponse
	if errors.As(err, &response) && response.StatusCode == http.StatusNotFound && response.Code != "NoSuchBucket" {
		return fs.ErrNotExist
	}
	return err
}

// Delete implements media.Files.
func (b *Bucket) Delete(ctx context.Context, hash media.Hash) error {
	err := translated(b.core.RemoveObject(ctx, b.options.Bucket, b.name(hash), minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Create implements media.Files.
func (b *Bucket) Create(context.Context) (media.Draft, error) {
	file, err := os.CreateTemp(b.options.Spool, "")
	if err != nil {
		return nil, err
	}
	// The name goes at once: nothing is left behind by a crash.
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	return &draft{b, file}, nil
}

type draft struct {
	bucket *Bucket
	file   *os.File // nil once kept or discarded
}

// Write implements io.Writer.
func (d *draft) Write(p []byte) (int, error) { return d.file.Write(p) }

// Keep implements media.Draft. The hash goes with it, so that the service can check what
// has arrived; most do.
func (d *draft) Keep(ctx context.Context, hash media.Hash) error {
	defer d.Discard()
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	b := d.bucket
	_, err = b.core.PutObject(ctx, b.options.Bucket, b.name(hash), d.file, size, "", hash.String(),
		minio.PutObjectOptions{DisableContentSha256: true, ContentType: "application/octet-stream"})
	return err
}

// Discard implements media.Draft.
func (d *draft) Discard() {
	if d.file != nil {
		_ = d.file.Close()
		d.file = nil
	}
}
