package wire

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxClientTags is how many bytes of tags a client may send, "@" and the space
// included (message-tags § Size limit).
const maxClientTags = 4096

// Append encodes the message, CR LF included. It is an error if it holds CR,
// LF or NUL anywhere, or a parameter that would be read back as something else.
func (m *Message) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst, err := m.appendTags(dst)
	if err != nil {
		return dst[:start], err
	}
	if m.Prefix != (Prefix{}) {
		prefix := m.Prefix.String()
		if prefix == "" || strings.ContainsAny(prefix, " \r\n\x00") {
			return dst[:start], fmt.Errorf("%w: prefix %q", ErrMalformed, prefix)
		}
		dst = append(append(append(dst, ':'), prefix...), ' ')
	}
	if !validCommand(m.Command) {
		return dst[:start], fmt.Errorf("%w: command %q", ErrMalformed, m.Command)
	}
	if len(m.Params) > maxParams {
		return dst[:start], fmt.Errorf("%w: %d parameters", ErrMalformed, len(m.Params))
	}
	dst = append(dst, strings.ToUpper(m.Command)...)
	for i, param := range m.Params {
		if strings.ContainsAny(param, "\r\n\x00") {
			return dst[:start], fmt.Errorf("%w: CR, LF or NUL in a parameter of %s", ErrMalformed, m.Command)
		}
		dst = append(dst, ' ')
		if param == "" || param[0] == ':' || strings.Contains(param, " ") || i == len(m.Params)-1 && i == freeText(m.Command) {
			if i < len(m.Params)-1 {
				return dst[:start], fmt.Errorf("%w: parameter %d of %s is %q", ErrMalformed, i+1, m.Command, param)
			}
			dst = append(dst, ':')
		}
		dst = append(dst, param...)
	}
	return append(dst, '\r', '\n'), nil
}

// freeText is which parameter of a command is free text, or -1. Its colon is always
// written, so that how long a line is does not depend on the text (see Conn.Split).
func freeText(command string) int {
	switch strings.ToUpper(command) {
	case "QUIT", "AWAY", "SETNAME":
		return 0
	case "PRIVMSG", "NOTICE", "TOPIC", "PART":
		return 1
	case "KICK", "RELAYMSG":
		return 2
	case "USER":
		return 3
	}
	return -1
}

func (m *Message) appendTags(dst []byte) ([]byte, error) {
	if len(m.Tags) == 0 {
		return dst, nil
	}
	start := len(dst)
	for i, key := range slices.Sorted(maps.Keys(m.Tags)) {
		if key == "" || strings.ContainsAny(key, "=;@ \r\n\x00") {
			return dst, fmt.Errorf("%w: tag %q", ErrMalformed, key)
		}
		dst = append(dst, "@;"[min(i, 1)])
		dst = append(dst, key...)
		if value := m.Tags[key]; value != "" {
			if strings.Contains(value, "\x00") {
				return dst, fmt.Errorf("%w: NUL in tag %s", ErrMalformed, key)
			}
			dst = append(append(dst, '='), tagEscaper.Replace(value)...)
		}
	}
	if len(dst)-start >= maxClientTags {
		return dst, fmt.Errorf("%w: %d bytes of tags", ErrMalformed, len(dst)-start)
	}
	return append(dst, ' '), nil
}
