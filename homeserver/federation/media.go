package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"

	"trestle/homeserver/media"
	"trestle/internal/matrix"
)

const (
	// mediaTime is how long a download may take, and mediaWait how long the other server waits for its upload.
	mediaTime = 10 * time.Minute
	mediaWait = "20000"
	// maxMetadata is how many bytes may stand before the content.
	maxMetadata = 64 << 10
)

// Download asks the server of media for them, by the operation for servers and, where that does not exist, by
// the one that it replaced (Server-Server API § Content Repository). It implements [media.Remote].
func (r *Remote) Download(ctx context.Context, uri media.URI) (*media.Download, error) {
	download, err := r.download(ctx, uri)
	if refused(err, "M_UNRECOGNIZED") || nothingThere(err) {
		download, err = r.oldDownload(ctx, uri)
	}
	return download, forUser(uri.Server, err, "M_NOT_FOUND", "M_NOT_YET_UPLOADED", "M_FORBIDDEN", "M_TOO_LARGE")
}

// nothingThere reports whether a server, or a proxy before it, has answered as one that does not know the operation: with no
// error of Matrix.
func nothingThere(err error) bool {
	var refusal *Refusal
	return errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError && refusal.Code == ""
}

func (r *Remote) download(ctx context.Context, uri media.URI) (*media.Download, error) {
	response, err := r.client.Open(ctx, Request{
		To: uri.Server, Method: http.MethodGet, Timeout: mediaTime,
		URI: "/_matrix/federation/v1/media/download/" + url.PathEscape(uri.ID) + "?timeout_ms=" + mediaWait,
	})
	if err != nil {
		return nil, err
	}
	part, err := contentPart(response)
	if err != nil {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%w: media of %s: %w", ErrAnswer, uri.Server, err)
	}
	if location := part.Header.Get("Location"); location != "" {
		_ = response.Body.Close()
		return r.redirected(ctx, uri.Server, location)
	}
	return newDownload(http.Header(part.Header), body{part, response.Body}), nil
}

// contentPart is the second part of an answer; the first has metadata, of which there are none yet.
func contentPart(response *http.Response) (*multipart.Part, error) {
	kind, parameters, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" || parameters["boundary"] == "" {
		return nil, fmt.Errorf("its type is %.100q", response.Header.Get("Content-Type"))
	}
	parts := multipart.NewReader(response.Body, parameters["boundary"])
	metadata, err := parts.NextRawPart()
	if err != nil {
		return nil, err
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(metadata, maxMetadata+1)); err != nil || n > maxMetadata {
		return nil, errors.Join(err, errors.New("its metadata have no end"))
	}
	return parts.NextRawPart()
}

// redirected fetches media from where their server says they are.
func (r *Remote) redirected(ctx context.Context, server matrix.ServerName, location string) (*media.Download, error) {
	if u, err := url.Parse(location); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: %s keeps media at %.100q", ErrAnswer, server, location)
	}
	limited, end := bounded(ctx, mediaTime)
	request, err := http.NewRequestWithContext(limited, http.MethodGet, location, nil)
	if err != nil {
		end(nil)
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	response, err := r.elsewhere.Do(request)
	if err != nil {
		end(nil)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Unreachable{Server: server, Err: err}
	}
	response.Body = newPatient(limited, response.Body, end)
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%w: media of %s are elsewhere, which answers %d", ErrAnswer, server, response.StatusCode)
	}
	return newDownload(response.Header, response.Body), nil
}

// oldDownload is how servers asked each other before version 1.11.
func (r *Remote) oldDownload(ctx context.Context, uri media.URI) (*media.Download, error) {
	response, err := r.client.Open(ctx, Request{
		To: uri.Server, Method: http.MethodGet, Timeout: mediaTime, Unsigned: true,
		URI: "/_matrix/media/v3/download/" + url.PathEscape(string(uri.Server)) + "/" + url.PathEscape(uri.ID) + "?allow_remote=false&timeout_ms=" + mediaWait,
	})
	if err != nil {
		return nil, err
	}
	return newDownload(response.Header, response.Body), nil
}

func newDownload(header http.Header, content io.ReadCloser) *media.Download {
	d := &media.Download{ContentType: header.Get("Content-Type"), Body: content}
	if _, parameters, err := mime.ParseMediaType(header.Get("Content-Disposition")); err == nil {
		d.FileName = strings.ToValidUTF8(parameters["filename"], "\ufffd")
	}
	return d
}

// body is a part of an answer, with which all of it is closed.
type body struct {
	io.Reader
	io.Closer
}
