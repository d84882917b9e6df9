package s3_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/media"
	"trestle/homeserver/media/s3"
)

// A service keeps objects in memory and refuses requests whose signature does
// not have the right shape.
type service struct {
	t       *testing.T
	mu      sync.Mutex
	objects map[string][]byte
	broken  bool
}

var signature = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=key/\d{8}/eu-test/s3/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}$`)

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	signed := signature.FindStringSubmatch(r.Header.Get("Authorization"))
	if signed == nil || !strings.Contains(signed[1], "host") || !strings.Contains(signed[1], "x-amz-content-sha256") ||
		!strings.Contains(signed[1], "x-amz-date") || r.Header.Get("X-Amz-Date") == "" {
		s.t.Errorf("%s %s: the signature is %q", r.Method, r.URL.Path, r.Header.Get("Authorization"))
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/bucket/")
	if !ok {
		s.t.Errorf("%s %s", r.Method, r.URL.Path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		s.fail(w, http.StatusForbidden, "AccessDenied")
		return
	}
	if name == "" {
		return // the bucket is there
	}
	content, found := s.objects[name]
	switch r.Method {
	case http.MethodPut:
		body, err := io.ReadAll(r.Body)
		sum := sha256.Sum256(body)
		if err != nil || r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) {
			s.fail(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
			return
		}
		s.objects[name] = body
		w.Header().Set("ETag", `"etag"`)
	case http.MethodDelete:
		delete(s.objects, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		if !found {
			s.fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", `"etag"`)
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(content))
	}
}

func (s *service) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>no</Message></Error>")
}

func newBucket(t *testing.T) (*service, *s3.Bucket, string) {
	t.Helper()
	fake := &service{t: t, objects: map[string][]byte{}}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	spool := t.TempDir()
	bucket, err := s3.New(s3.Options{
		Endpoint: server.URL, Bucket: "bucket", Prefix: "media/", Region: "eu-test", AccessKey: "key", SecretKey: "secret", PathStyle: true, Spool: spool,
	})
	if err != nil {
		t.Fatal(err)
	}
	return fake, bucket, spool
}

func TestBucket(t *testing.T) {
	fake, bucket, spool := newBucket(t)
	ctx := t.Context()
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	hash := media.Hash(sha256.Sum256(content))
	if _, err := bucket.Open(ctx, hash); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open what is not there: %v", err)
	}
	for range 2 { // the same again is no error
		draft, err := bucket.Create(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := draft.Keep(ctx, hash); err != nil {
			t.Fatal(err)
		}
		draft.Discard()
	}
	if len(fake.objects) != 1 || !bytes.Equal(fake.objects["media/"+hash.String()], content) {
		t.Errorf("%d objects", len(fake.objects))
	}
	file, err := bucket.Open(ctx, hash)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if whole, err := io.ReadAll(file); err != nil || !bytes.Equal(whole, content) {
		t.Errorf("%d bytes, %v", len(whole), err)
	}
	if size, err := file.Seek(0, io.SeekEnd); err != nil || size != int64(len(content)) {
		t.Errorf("size %d, %v", size, err)
	}
	if _, err := file.Seek(500_005, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 10)
	if _, err := io.ReadFull(file, part); err != nil || string(part) != "5678901234" {
		t.Errorf("%q, %v", part, err)
	}
	for range 2 {
		if err := bucket.Delete(ctx, hash); err != nil {
			t.Error(err)
		}
	}
	if len(fake.objects) != 0 {
		t.Error("the object is there still")
	}
	if left, _ := os.ReadDir(spool); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
}

func TestBucketRefuses(t *testing.T) {
	fake, bucket, _ := newBucket(t)
	fake.broken = true
	ctx := t.Context()
	draft, err := bucket.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := draft.Keep(ctx, media.Hash{}); err == nil {
		t.Error("a refused upload is kept")
	}
	if _, err := bucket.Open(ctx, media.Hash{}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
	if err := bucket.Delete(ctx, media.Hash{}); err == nil {
		t.Error("delete")
	}
}
