package api

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// MaxDepth is how deeply a request body's arrays and objects may nest.
const MaxDepth = 100

var (
	errNotJSON   = errors.New("not JSON")
	errNotObject = errors.New("not a JSON object")
	errTooDeep   = errors.New("nested too deeply")
)

// scanObject checks that data is one JSON object of valid UTF-8 and shows its
// members to visit, values as they stand. Nothing is visited before the whole
// of data is known to be well formed, and keys arrive unescaped.
func scanObject(data []byte, visit func(key, value []byte) error) error {
	if !utf8.Valid(data) {
		return errNotJSON
	}
	s := scanner{data: data}
	s.space()
	if !s.at('{') {
		if err := s.whole(); err != nil {
			return err
		}
		return errNotObject
	}
	if err := s.whole(); err != nil {
		return err
	}
	if visit == nil {
		return nil
	}
	return eachMember(data, visit)
}

// eachMember walks the members of an object that is known to be well formed.
func eachMember(data []byte, visit func(key, value []byte) error) error {
	s := scanner{data: data}
	s.space()
	s.pos++
	for {
		s.space()
		if s.at('}') {
			return nil
		}
		if s.at(',') {
			s.pos++
			s.space()
		}
		start := s.pos
		_ = s.str()
		key, err := unquote(data[start:s.pos])
		if err != nil {
			return err
		}
		s.space()
		s.pos++ // the colon
		s.space()
		start = s.pos
		_ = s.value(1)
		if err := visit(key, data[start:s.pos]); err != nil {
			return err
		}
	}
}

// unquote takes a JSON string apart; without escapes it is a part of quoted.
func unquote(quoted []byte) ([]byte, error) {
	for _, c := range quoted {
		if c == '\\' {
			var s string
			err := json.Unmarshal(quoted, &s)
			return []byte(s), err
		}
	}
	return quoted[1 : len(quoted)-1], nil
}

// A scanner is a strict JSON reader (RFC 8259) that keeps nothing.
type scanner struct {
	data []byte
	pos  int
}

// whole accepts exactly one value with space around it.
func (s *scanner) whole() error {
	s.space()
	if err := s.value(0); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.data) {
		return errNotJSON
	}
	return nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) error {
	if s.pos >= len(s.data) {
		return errNotJSON
	}
	switch s.data[s.pos] {
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case '"':
		return s.str()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(depth int) error {
	if depth > MaxDepth {
		return errTooDeep
	}
	s.pos++
	s.space()
	if s.at('}') {
		s.pos++
		return nil
	}
	for {
		s.space()
		if !s.at('"') {
			return errNotJSON
		}
		if err := s.str(); err != nil {
			return err
		}
		s.space()
		if !s.at(':') {
			return errNotJSON
		}
		s.pos++
		s.space()
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		if s.at('}') {
			s.pos++
			return nil
		}
		if !s.at(',') {
			return errNotJSON
		}
		s.pos++
	}
}

func (s *scanner) array(depth int) error {
	if depth > MaxDepth {
		return errTooDeep
	}
	s.pos++
	s.space()
	if s.at(']') {
		s.pos++
		return nil
	}
	for {
		s.space()
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		if s.at(']') {
			s.pos++
			return nil
		}
		if !s.at(',') {
			return errNotJSON
		}
		s.pos++
	}
}

func (s *scanner) word(w string) error {
	end := s.pos + len(w)
	if end > len(s.data) || string(s.data[s.pos:end]) != w {
		return errNotJSON
	}
	s.pos = end
	return nil
}

func (s *scanner) str() error {
	for s.pos++; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return nil
		case c < ' ':
			return errNotJSON
		case c == '\\':
			s.pos++
			if err := s.escape(); err != nil {
				return err
			}
		}
	}
	return errNotJSON
}

// escape stands on the character behind a backslash and stays on the last one
// of the sequence.
func (s *scanner) escape() error {
	if s.pos >= len(s.data) {
		return errNotJSON
	}
	switch s.data[s.pos] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		if s.pos+4 >= len(s.data) {
			return errNotJSON
		}
		for _, c := range s.data[s.pos+1 : s.pos+5] {
			if !isHex(c) {
				return errNotJSON
			}
		}
		s.pos += 4
		return nil
	}
	return errNotJSON
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) number() error {
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if s.digits() == 0 {
		return errNotJSON
	}
	if s.at('.') {
		s.pos++
		if s.digits() == 0 {
			return errNotJSON
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if s.digits() == 0 {
			return errNotJSON
		}
	}
	return nil
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}
