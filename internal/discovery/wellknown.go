package discovery

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"trestle/internal/matrix"
)

// How long a well-known file is believed (Server-Server API § Resolving server names).
const (
	usualLife   = 24 * time.Hour
	longestLife = 48 * time.Hour
	leastLife   = 5 * time.Minute // whatever it says, so that it is not asked for with each request
	refusalLife = time.Hour       // of an answer that names no server
	firstPause  = time.Minute     // after a request that failed; the next ones are twice as long each
)

const (
	maxWellKnown = 16 << 10         // bytes
	maxRedirects = 5                // that lead to it
	wellKnownFor = 10 * time.Second // altogether
)

// A statement is what is known of the well-known file of a host.
type statement struct {
	server   matrix.ServerName // empty: it names none
	until    time.Time         // it is asked for again
	believed time.Time         // until when server holds if it cannot be asked for
	failures int               // in a row
}

// errNamesNone is for files that are there, or not, and name no server.
var errNamesNone = errors.New("no server is named")

// newPages is the client for well-known files. Their hosts are as strange as all others.
func (r *resolver) newPages() *http.Client {
	return &http.Client{
		Timeout: wellKnownFor,
		Transport: &http.Transport{
			DialContext: r.dialHost, DisableKeepAlives: true,
			TLSClientConfig:     &tls.Config{RootCAs: r.guard.Authorities(), MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: connecting, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if next.URL.Scheme != "https" {
				return errors.New("a redirect away from HTTPS")
			}
			return r.guard.CheckURL(next.URL)
		},
	}
}

// delegated is the server name that a host's well-known file has; empty: none. A file that was good is
// believed for a while if there is no answer at all, because the server has not moved for that.
func (r *resolver) delegated(ctx context.Context, host string) matrix.ServerName {
	now := r.now()
	known, ok := r.wellKnown.Get(host)
	if ok && now.Before(known.until) {
		return known.server
	}
	server, life, err := r.readWellKnown(ctx, host)
	switch {
	case err == nil:
		known = statement{server: server, until: now.Add(life), believed: now.Add(longestLife)}
	case errors.Is(err, errNamesNone):
		known = statement{until: now.Add(life)}
	default:
		known.failures++
		pause := min(firstPause<<min(known.failures-1, 10), refusalLife)
		known.until = now.Add(jitter(pause))
		if !now.Before(known.believed) {
			known.server = ""
		}
	}
	r.wellKnown.Put(host, known)
	return known.server
}

// readWellKnown asks a host. The error wraps errNamesNone if it has answered.
func (r *resolver) readWellKnown(ctx context.Context, host string) (server matrix.ServerName, life time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/matrix/server", nil)
	if err != nil {
		return "", 0, err
	}
	response, err := r.pages.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests {
		return "", 0, fmt.Errorf("the well-known file of %s: status %d", host, response.StatusCode)
	}
	life = lifeOf(response.Header, r.now())
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxWellKnown+1))
	if err != nil {
		return "", 0, err
	}
	server, ok := parseWellKnown(raw)
	if !ok || response.StatusCode != http.StatusOK {
		return "", jitter(min(life, refusalLife)), errNamesNone
	}
	return server, jitter(life), nil
}

// parseWellKnown reads the file; false if it names no server.
func parseWellKnown(raw []byte) (matrix.ServerName, bool) {
	var members map[string]json.RawMessage // by their exact names
	var name string
	if len(raw) > maxWellKnown || json.Unmarshal(raw, &members) != nil || json.Unmarshal(members["m.server"], &name) != nil {
		return "", false
	}
	server, err := matrix.ParseServerName(name)
	return server, err == nil
}

// lifeOf is how long an answer may be kept, by its Cache-Control or its Expires (RFC 9111 § 4.2.1).
func lifeOf(header http.Header, now time.Time) time.Duration {
	life := usualLife
	if expires, err := http.ParseTime(header.Get("Expires")); err == nil {
		life = expires.Sub(now)
	}
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return leastLife
		case "max-age":
			seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 64)
			if err == nil {
				life = time.Duration(min(max(seconds, 0), int64(longestLife/time.Second))) * time.Second
			}
		}
	}
	return min(max(life, leastLife), longestLife)
}

// jitter makes a time up to a tenth shorter, so that not all servers ask in the same moment.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10+1))
}
