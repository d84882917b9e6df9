package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Message is one line of the protocol, taken apart. Its strings are
// bytes as the server sent them, not necessarily UTF-8 (see format.Decode).
type Message struct {
	Tags    map[string]string // unescaped; nil when there are none
	Prefix  Prefix            // who it is from; empty: the server, or us
	Command string            // upper case, or three digits
	Params  []string
	Time    time.Time // by server-time, else when it was read
	Batch   *Batch    // the innermost batch it belongs to, if any

	own bool // by us, as we were called when it was read
}

// A Prefix is a message's source. Nick holds the server's name if that is the source.
type Prefix struct{ Nick, User, Host string }

// maxParams bounds the parameters of a line; the rest is part of the last. RFC 2812 has 15, servers
// have sent more.
const maxParams = 50

// maxTags bounds the tags of a line; the rest is ignored.
const maxTags = 100

// Parse takes one line apart, without its CR LF. It takes what servers really
// send: several spaces in a row, and a line of tags and prefix only is what it refuses.
func Parse(line string) (*Message, error) {
	if strings.ContainsAny(line, "\r\n\x00") {
		return nil, fmt.Errorf("%w: CR, LF or NUL within", ErrMalformed)
	}
	m := &Message{}
	if rest, tagged := strings.CutPrefix(line, "@"); tagged {
		tags, after, _ := strings.Cut(rest, " ")
		m.Tags, line = parseTags(tags), after
	}
	line = strings.TrimLeft(line, " ")
	if rest, prefixed := strings.CutPrefix(line, ":"); prefixed {
		prefix, after, _ := strings.Cut(rest, " ")
		m.Prefix, line = ParsePrefix(prefix), strings.TrimLeft(after, " ")
	}
	command, line, _ := strings.Cut(line, " ")
	if !validCommand(command) {
		return nil, fmt.Errorf("%w: no command", ErrMalformed)
	}
	m.Command = strings.ToUpper(command)
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] == ':' {
			m.Params = append(m.Params, line[1:])
			break
		}
		if len(m.Params) == maxParams-1 {
			m.Params = append(m.Params, line)
			break
		}
		var param string
		param, line, _ = strings.Cut(line, " ")
		m.Params = append(m.Params, param)
	}
	return m, nil
}

// ParsePrefix takes nick!user@host apart; user and host may be missing.
func ParsePrefix(s string) Prefix {
	rest, host, _ := strings.Cut(s, "@")
	nick, user, _ := strings.Cut(rest, "!")
	return Prefix{nick, user, host}
}

// validCommand holds for letters, or three digits.
func validCommand(s string) bool {
	digits := 0
	for i := range len(s) {
		c := s[i] | 0x20
		switch {
		case '0' <= s[i] && s[i] <= '9':
			digits++
		case c < 'a' || c > 'z':
			return false
		}
	}
	return s != "" && (digits == 0 || digits == 3 && len(s) == 3)
}

func parseTags(s string) map[string]string {
	tags := make(map[string]string, min(strings.Count(s, ";")+1, maxTags))
	for tag := range strings.SplitSeq(s, ";") {
		key, value, _ := strings.Cut(tag, "=")
		if key == "" || len(tags) == maxTags {
			continue
		}
		tags[key] = unescapeTag(value)
	}
	return tags
}

// unescapeTag follows the rules of message-tags: a lone backslash at the end goes, one before
// anything unknown goes too.
func unescapeTag(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			break
		}
		switch s[i] {
		case ':':
			b.WriteByte(';')
		case 's':
			b.WriteByte(' ')
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

var tagEscaper = strings.NewReplacer(`\`, `\\`, ";", `\:`, " ", `\s`, "\r", `\r`, "\n", `\n`)

// NewMessage makes a message to be sent.
func NewMessage(command string, params ...string) *Message {
	return &Message{Command: command, Params: params}
}

// Param is the nth parameter, from 0, or empty.
func (m *Message) Param(n int) string {
	if n < 0 || n >= len(m.Params) {
		return ""
	}
	return m.Params[n]
}

// Last is the last parameter, or empty.
func (m *Message) Last() string { return m.Param(len(m.Params) - 1) }

// Numeric is the reply's number, or 0 for a command.
func (m *Message) Numeric() int {
	n, err := strconv.Atoi(m.Command)
	if err != nil {
		return 0
	}
	return n
}

// Tag is a tag's value, empty also when it is missing.
func (m *Message) Tag(name string) string { return m.Tags[name] }

// ID is the server's ID of the message (tag msgid), or empty.
func (m *Message) ID() string { return m.Tags["msgid"] }

// Account is the services account of the sender (tag account), or empty.
func (m *Message) Account() string { return m.Tags["account"] }

// CTCP takes a client-to-client request in a PRIVMSG or NOTICE apart; "ACTION" is
// /me. The closing \x01 may be missing: servers cut it off.
func (m *Message) CTCP() (command, args string, ok bool) {
	if m.Command != "PRIVMSG" && m.Command != "NOTICE" || len(m.Params) < 2 {
		return "", "", false
	}
	text, ok := strings.CutPrefix(m.Params[1], "\x01")
	if !ok {
		return "", "", false
	}
	command, args, _ = strings.Cut(strings.TrimSuffix(text, "\x01"), " ")
	return strings.ToUpper(command), args, command != ""
}

// String is "nick!user@host", as far as it is known.
func (p Prefix) String() string {
	s := p.Nick
	if p.User != "" {
		s += "!" + p.User
	}
	if p.Host != "" {
		s += "@" + p.Host
	}
	return s
}
