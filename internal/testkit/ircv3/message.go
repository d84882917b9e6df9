package ircv3

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A Message is a line taken apart.
type Message struct {
	Tags    map[string]string
	Source  string // nick!user@host, or the server
	Command string
	Params  []string
}

// NewMessage makes a message.
func NewMessage(source, command string, params ...string) *Message {
	return &Message{Source: source, Command: command, Params: params}
}

// Param is the nth parameter, from 0, or empty.
func (m *Message) Param(n int) string {
	if n < len(m.Params) {
		return m.Params[n]
	}
	return ""
}

// with is a copy with one tag more.
func (m *Message) with(tag, value string) *Message {
	tagged := *m
	tagged.Tags = maps.Clone(m.Tags)
	if tagged.Tags == nil {
		tagged.Tags = map[string]string{}
	}
	tagged.Tags[tag] = value
	return &tagged
}

// Parse takes a line apart; nil if it has no command.
func Parse(line string) *Message {
	m := &Message{}
	if strings.HasPrefix(line, "@") {
		tags, rest, _ := strings.Cut(line[1:], " ")
		line, m.Tags = rest, map[string]string{}
		for tag := range strings.SplitSeq(tags, ";") {
			if key, value, _ := strings.Cut(tag, "="); key != "" {
				m.Tags[key] = unescape(value)
			}
		}
	}
	line = strings.TrimLeft(line, " ")
	if strings.HasPrefix(line, ":") {
		m.Source, line, _ = strings.Cut(line[1:], " ")
	}
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		word := ""
		if m.Command != "" && line[0] == ':' {
			m.Params = append(m.Params, line[1:])
			break
		}
		word, line, _ = strings.Cut(line, " ")
		if m.Command == "" {
			m.Command = strings.ToUpper(word)
		} else {
			m.Params = append(m.Params, word)
		}
	}
	if !valid.MatchString(m.Command) {
		return nil
	}
	return m
}

var valid = regexp.MustCompile(`^[0-9A-Z]+$`)

// String is the line, without CR LF. The part behind the tags is cut at the 510 bytes that there are.
func (m *Message) String() string {
	var tags, rest strings.Builder
	for i, key := range slices.Sorted(maps.Keys(m.Tags)) {
		tags.WriteString([]string{"@", ";"}[min(i, 1)] + key)
		if value := m.Tags[key]; value != "" {
			tags.WriteString("=" + escape(value))
		}
	}
	if len(m.Tags) > 0 {
		tags.WriteByte(' ')
	}
	if m.Source != "" {
		rest.WriteString(":" + m.Source + " ")
	}
	rest.WriteString(m.Command)
	for i, param := range m.Params {
		rest.WriteByte(' ')
		if i == len(m.Params)-1 && (param == "" || param[0] == ':' || strings.Contains(param, " ") || freeText(m.Command, i)) {
			rest.WriteByte(':')
		}
		rest.WriteString(param)
	}
	return tags.String() + rest.String()[:min(rest.Len(), maxLine-2)]
}

// maxLine is how long a line may be, tags aside, CR LF included.
const maxLine = 512

// freeText tells whether a parameter has a colon whatever is in it.
func freeText(command string, param int) bool {
	switch command {
	case "PRIVMSG", "NOTICE", "TOPIC", "PART":
		return param == 1
	case "KICK", "REDACT":
		return param == 2
	case "QUIT", "ERROR":
		return true
	}
	return len(command) == 3 && param > 1 // a numeric's text
}

var escaper = strings.NewReplacer(`\`, `\\`, ";", `\:`, " ", `\s`, "\r", `\r`, "\n", `\n`)

func escape(value string) string { return escaper.Replace(value) }

func unescape(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			b.WriteByte(value[i])
			continue
		}
		if i++; i == len(value) {
			break
		}
		switch c := value[i]; c {
		case ':':
			b.WriteByte(';')
		case 's':
			b.WriteByte(' ')
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
