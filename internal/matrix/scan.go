package matrix

import (
	"bytes"
	"errors"
	"strconv"
)

var errMalformed = errors.New("malformed JSON")

// A scanner walks over the members of an object, or the elements of an
// array, that is known to be valid JSON: it checks no more than it needs in
// order to find their ends.
type scanner struct {
	data []byte
	pos  int
	err  error
}

// scanObject begins at the members of an object.
func scanObject(object []byte) scanner { return scan(object, '{') }

// scanArray begins at the elements of an array.
func scanArray(array []byte) scanner { return scan(array, '[') }

func scan(data []byte, opening byte) scanner {
	s := scanner{data: data}
	s.space()
	if s.pos >= len(data) || data[s.pos] != opening {
		s.err = errMalformed
	}
	s.pos++
	return s
}

// member is the next key, without its quotes, and its value.
func (s *scanner) member() (key, value []byte, ok bool) {
	if !s.next('}') {
		return nil, nil, false
	}
	from := s.pos
	if s.data[from] != '"' || !s.skip() {
		s.err = errMalformed
		return nil, nil, false
	}
	key = s.data[from+1 : s.pos-1]
	s.space()
	if s.pos >= len(s.data) || s.data[s.pos] != ':' {
		s.err = errMalformed
		return nil, nil, false
	}
	s.pos++
	s.space()
	from = s.pos
	if !s.skip() {
		return nil, nil, false
	}
	return key, s.data[from:s.pos:s.pos], true
}

// element is the next value.
func (s *scanner) element() (value []byte, ok bool) {
	if !s.next(']') {
		return nil, false
	}
	from := s.pos
	if !s.skip() {
		return nil, false
	}
	return s.data[from:s.pos:s.pos], true
}

// next goes to the next item, and reports false at the closing bracket.
func (s *scanner) next(closing byte) bool {
	if s.err != nil {
		return false
	}
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == ',' {
		s.pos++
		s.space()
	}
	if s.pos >= len(s.data) {
		s.err = errMalformed
		return false
	}
	return s.data[s.pos] != closing
}

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

// skip goes behind the value at pos.
func (s *scanner) skip() bool {
	for depth := 0; s.pos < len(s.data); {
		switch s.data[s.pos] {
		case '"':
			if !s.skipString() {
				return false
			}
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				s.err = errMalformed
				return false
			}
			s.pos++
		default:
			s.skipWord()
		}
		if depth == 0 {
			return true
		}
		if depth < 0 {
			break
		}
	}
	s.err = errMalformed
	return false
}

// skipWord goes behind a number, true, false or null.
func (s *scanner) skipWord() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ',', ':', '}', ']', '"', '{', '[', ' ', '\t', '\n', '\r':
			return
		}
		s.pos++
	}
}

func (s *scanner) skipString() bool {
	for i := s.pos + 1; i < len(s.data); {
		end := bytes.IndexByte(s.data[i:], '"')
		if end < 0 {
			break
		}
		i += end + 1
		backslashes := 0
		for j := i - 2; j > s.pos && s.data[j] == '\\'; j-- {
			backslashes++
		}
		if backslashes%2 == 0 {
			s.pos = i
			return true
		}
	}
	s.err = errMalformed
	return false
}

// find is the value of a key of an object, or nil.
func find(object []byte, key string) []byte {
	s := scanObject(object)
	for {
		k, value, ok := s.member()
		if !ok {
			return nil
		}
		if string(k) == key {
			return value
		}
	}
}

// text is the text of a string value; ok is false if it is no string.
func text(value []byte) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		return unescape(inner), true
	}
	return string(inner), true
}

// integer is the value of an integer that fits an int64.
func integer(value []byte) (n int64, ok bool) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	return n, err == nil
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }
