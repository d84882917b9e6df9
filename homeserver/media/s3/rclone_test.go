package s3_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net/http/httptest"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"trestle/homeserver/media"
	"trestle/homeserver/media/s3"
)

// rclone is the S3 server of rclone, which checks signatures and hashes itself. It
// has a bucket "trestle", for "key" with "secret".
func rclone(t *testing.T) (endpoint string) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(t.Context(), "trestle"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{"key": "secret"})).Server())
	t.Cleanup(server.Close)
	return server.URL
}

func bucketAt(t *testing.T, endpoint, name, key, secret string) *s3.Bucket {
	t.Helper()
	bucket, err := s3.New(s3.Options{
		Endpoint: endpoint, Bucket: name, Prefix: "media/", AccessKey: key, SecretKey: secret, PathStyle: true, Spool: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// keep uploads content under a hash.
func keep(t *testing.T, bucket *s3.Bucket, content []byte, hash media.Hash) error {
	t.Helper()
	draft, err := bucket.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Discard()
	for piece := content; len(piece) > 0; {
		n := min(len(piece), 1<<20)
		if _, err := draft.Write(piece[:n]); err != nil {
			t.Fatal(err)
		}
		piece = piece[n:]
	}
	return draft.Keep(t.Context(), hash)
}

// numbered is content in which every place can be told from the others.
func numbered(size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return content
}

// What is kept on a server that others have written is there, whole and in parts,
// until it is deleted.
func TestBucketOfRclone(t *testing.T) {
	bucket := bucketAt(t, rclone(t), "trestle", "key", "secret")
	for _, size := range []int{0, 1, 5<<20 + 1} {
		content := numbered(size)
		hash := media.Hash(sha256.Sum256(content))
		if _, err := bucket.Open(t.Context(), hash); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes: open what is not there: %v", size, err)
		}
		for range 2 { // the same again is no error
			if err := keep(t, bucket, content, hash); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
		checkObject(t, bucket, content, hash)
		for range 2 {
			if err := bucket.Delete(t.Context(), hash); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		if _, err := bucket.Open(t.Context(), hash); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes: open what is deleted: %v", size, err)
		}
	}
}

func checkObject(t *testing.T, bucket *s3.Bucket, content []byte, hash media.Hash) {
	t.Helper()
	file, err := bucket.Open(t.Context(), hash)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if size, err := file.Seek(0, io.SeekEnd); err != nil || size != int64(len(content)) {
		t.Errorf("size %d, %v", size, err)
	}
	for _, r := range [][2]int{{len(content) / 3, len(content)/3 + 1000}, {0, len(content)}, {len(content) - 1, len(content)}, {len(content), len(content)}} {
		from, to := max(r[0], 0), min(r[1], len(content))
		if _, err := file.Seek(int64(from), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		part := make([]byte, to-from)
		if n, err := io.ReadFull(file, part); err != nil || !bytes.Equal(part, content[from:to]) {
			t.Errorf("from %d to %d: %d bytes, %v", from, to, n, err)
		}
	}
}

// Whoever has a wrong secret, or no bucket, is told so: nothing of this looks as if
// something had been kept, or as if it were merely not there.
func TestBucketOfRcloneRefuses(t *testing.T) {
	endpoint := rclone(t)
	content := numbered(1000)
	hash := media.Hash(sha256.Sum256(content))
	if err := keep(t, bucketAt(t, endpoint, "trestle", "key", "secret"), content, hash); err != nil {
		t.Fatal(err)
	}
	for name, bucket := range map[string]*s3.Bucket{
		"a wrong secret": bucketAt(t, endpoint, "trestle", "key", "guessed"),
		"a wrong key":    bucketAt(t, endpoint, "trestle", "other", "secret"),
		"a wrong bucket": bucketAt(t, endpoint, "elsewhere", "key", "secret"),
	} {
		if err := keep(t, bucket, content, hash); err == nil {
			t.Errorf("%s: an upload is kept", name)
		}
		if _, err := bucket.Open(t.Context(), hash); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: open: %v", name, err)
		}
		if err := bucket.Delete(t.Context(), hash); err == nil {
			t.Errorf("%s: deleted", name)
		}
	}
	checkObject(t, bucketAt(t, endpoint, "trestle", "key", "secret"), content, hash)
}
