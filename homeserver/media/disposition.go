package media

import (
	"errors"
	"mime"
	"strings"
)

// inlineTypes are the content types that browsers may show at once
// (Client-Server API § Serving inline content).
var inlineTypes = map[string]bool{
	"text/css": true, "text/plain": true, "text/csv": true,
	"application/json": true, "application/ld+json": true,
	"image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true,
	"audio/wave": true, "audio/wav": true, "audio/x-wav": true, "audio/x-pn-wav": true,
	"audio/flac": true, "audio/x-flac": true,
}

// Disposition is the Content-Disposition header for content of a type
// (RFC 6266): inline where the specification allows it, else attachment. A file
// name, empty for none, arrives exactly as it is, path separators and all:
// what a client does with it is for the client to decide (§ 4.3 there).
func Disposition(contentType, fileName string) string {
	disposition := "attachment"
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && inlineTypes[kind] {
		disposition = "inline"
	}
	if fileName == "" {
		return disposition
	}
	fallback := strings.Map(quotable, fileName)
	if fallback == fileName {
		return disposition + `; filename="` + fileName + `"`
	}
	// The first is for those who do not know the second (Appendix D there).
	return disposition + `; filename="` + fallback + `"; filename*=UTF-8''` + extendedValue(fileName)
}

// quotable leaves what every client reads in the same way between quotation
// marks. Some unescape percent signs there, and some no backslashes.
func quotable(r rune) rune {
	if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
		return '_'
	}
	return r
}

// extendedValue is text as RFC 8187 § 3.2 encodes it, without its charset.
func extendedValue(text string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(strings.ToValidUTF8(text, "\uFFFD")) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// anyType is the content type of what nobody has given one.
const anyType = "application/octet-stream"

// contentType is the type under which content is kept: as the sender wrote it,
// if that can be a type, without parameters if they make no sense.
func contentType(sent string) string {
	sent = strings.TrimSpace(sent)
	kind, _, err := mime.ParseMediaType(sent)
	if errors.Is(err, mime.ErrInvalidMediaParameter) {
		sent, err = kind, nil
	}
	if err != nil || !strings.Contains(kind, "/") || len(sent) > 255 {
		return anyType
	}
	for _, c := range []byte(sent) {
		if c < ' ' || c > '~' {
			return anyType
		}
	}
	return sent
}
