package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// window is how much of an answer is read at once.
	window = 64 << 10
	// maxKey is how many bytes the name of a member may have that is looked at.
	maxKey = 256
)

var errSyntax = errors.New("it is not the JSON that it should be")

// A splitter takes JSON apart while it comes. It checks what lies between values, and where they end; whoever is given a
// value has to parse it. What nobody wants is walked over and never held.
type splitter struct {
	from     io.Reader
	data     []byte // what has come, and was not walked over
	window   []byte
	err      error // of from
	held     []byte
	overfull bool // the value has more bytes than are held
}

func newSplitter(from io.Reader) *splitter {
	return &splitter{from: from, window: make([]byte, window)}
}

// A taker is what becomes of a member of an object.
type taker struct {
	// most is how many bytes of it, or of each of its elements, are taken.
	most int
	// each is for arrays, whose elements are taken one by one; null is an array without any.
	each bool
	// take is given JSON that is not checked yet, and valid until it returns; nil stands for what has more bytes.
	take func(raw []byte) error
}

// object reads an object, with a taker for each member that is wanted. None may come twice: of two that contradict each
// other it is not known which one is meant.
func (s *splitter) object(takers map[string]taker) (seen map[string]bool, err error) {
	seen = map[string]bool{}
	err = s.each('{', '}', func() error {
		key, err := s.key()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		t, wanted := takers[key]
		if !wanted {
			_, err := s.value(0)
			return err
		}
		if seen[key] {
			return fmt.Errorf("it has %q twice", key)
		}
		seen[key] = true
		if t.each {
			return s.array(t)
		}
		return s.give(t)
	})
	return seen, err
}

// array gives the elements of an array to a taker.
func (s *splitter) array(t taker) error {
	b, err := s.next()
	if err != nil {
		return err
	}
	if b == 'n' {
		raw, err := s.value(len("null"))
		if err == nil && string(raw) != "null" {
			err = errSyntax
		}
		return err
	}
	return s.each('[', ']', func() error { return s.give(t) })
}

// pair reads what the first version of an operation answers: an array of 200 and what was meant.
func (s *splitter) pair(second func() error) error {
	n := 0
	err := s.each('[', ']', func() error {
		switch n++; n {
		case 1:
			raw, err := s.value(len("200"))
			if err == nil && string(raw) != "200" {
				err = errSyntax
			}
			return err
		case 2:
			return second()
		}
		return errSyntax
	})
	if err == nil && n != 2 {
		err = errSyntax
	}
	return err
}

func (s *splitter) give(t taker) error {
	raw, err := s.value(t.most)
	if err != nil {
		return err
	}
	return t.take(raw)
}

// each reads items between brackets.
func (s *splitter) each(opening, closing byte, item func() error) error {
	if err := s.expect(opening); err != nil {
		return err
	}
	b, err := s.next()
	if err != nil {
		return err
	}
	if b == closing {
		return s.expect(closing)
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch b, err := s.next(); {
		case err != nil:
			return err
		case b == closing:
			return s.expect(closing)
		case b != ',':
			return errSyntax
		}
		s.data = s.data[1:]
	}
}

// key is the name of a member; one that is too long is one that nobody wants.
func (s *splitter) key() (string, error) {
	b, err := s.next()
	if err != nil {
		return "", err
	}
	if b != '"' {
		return "", errSyntax
	}
	raw, err := s.value(maxKey)
	if err != nil || raw == nil {
		return "", err
	}
	var key string
	if err := json.Unmarshal(raw, &key); err != nil {
		return "", errSyntax
	}
	return key, nil
}

// value goes behind the next value, and is its bytes, until the next call; nil if there are more of them than wanted.
func (s *splitter) value(most int) ([]byte, error) {
	first, err := s.next()
	if err != nil {
		return nil, err
	}
	s.held, s.overfull = s.held[:0], false
	switch first {
	case '{', '[':
		err = s.walk(most, &nested{})
	case '"':
		err = s.walk(most, &quotedText{})
	case ',', ':', ']', '}':
		return nil, errSyntax
	default:
		err = s.walk(most, &word{})
	}
	if err != nil || s.overfull {
		return nil, err
	}
	return s.held, nil
}

// An ender finds where a value ends that comes in pieces.
type ender interface {
	// end is how many bytes of a piece belong to the value, and whether that is its last.
	end(piece []byte) (n int, last bool)
}

// walk goes to the end of a value, and holds it if it is not too large.
func (s *splitter) walk(most int, e ender) error {
	for {
		n, last := e.end(s.data)
		if !s.overfull && len(s.held)+n <= most {
			s.held = append(s.held, s.data[:n]...)
		} else {
			s.overfull = true
		}
		s.data = s.data[n:]
		if last {
			return nil
		}
		if err := s.fill(); err != nil {
			if _, isWord := e.(*word); isWord && errors.Is(err, io.EOF) {
				return nil
			}
			return unexpected(err)
		}
	}
}

// quotedText is a string.
type quotedText struct{ begun, escaped bool }

func (q *quotedText) end(piece []byte) (int, bool) {
	for i, b := range piece {
		switch {
		case q.escaped:
			q.escaped = false
		case b == '\\':
			q.escaped = true
		case b == '"' && q.begun:
			return i + 1, true
		case b == '"':
			q.begun = true
		}
	}
	return len(piece), false
}

// nested is an object or an array.
type nested struct {
	depth  int
	inText bool
	text   quotedText
}

func (o *nested) end(piece []byte) (int, bool) {
	for i := 0; i < len(piece); i++ {
		if o.inText {
			n, last := o.text.end(piece[i:])
			if !last {
				return len(piece), false
			}
			i, o.inText = i+n-1, false
			continue
		}
		switch piece[i] {
		case '"':
			o.inText, o.text = true, quotedText{begun: true}
		case '{', '[':
			o.depth++
		case '}', ']':
			if o.depth--; o.depth == 0 {
				return i + 1, true
			}
		}
	}
	return len(piece), false
}

// word is a number, true, false or null.
type word struct{}

func (*word) end(piece []byte) (int, bool) {
	for i, b := range piece {
		switch b {
		case ',', ':', '}', ']', '"', '{', '[', ' ', '\t', '\n', '\r':
			return i, true
		}
	}
	return len(piece), false
}

// next is the first byte that is not white space, and is not walked over.
func (s *splitter) next() (byte, error) {
	for {
		for len(s.data) > 0 {
			switch b := s.data[0]; b {
			case ' ', '\t', '\n', '\r':
				s.data = s.data[1:]
			default:
				return b, nil
			}
		}
		if err := s.fill(); err != nil {
			return 0, unexpected(err)
		}
	}
}

func (s *splitter) expect(want byte) error {
	b, err := s.next()
	if err != nil {
		return err
	}
	if b != want {
		return errSyntax
	}
	s.data = s.data[1:]
	return nil
}

// end wants nothing to follow.
func (s *splitter) end() error {
	if _, err := s.next(); err == nil {
		return errSyntax
	}
	if !errors.Is(s.err, io.EOF) {
		return s.err
	}
	return nil
}

// fill reads on, when all that has come was walked over.
func (s *splitter) fill() error {
	for tries := 0; s.err == nil && tries < 100; tries++ {
		n, err := s.from.Read(s.window)
		s.data, s.err = s.window[:n], err
		if n > 0 {
			return nil
		}
	}
	if s.err == nil {
		s.err = io.ErrNoProgress
	}
	return s.err
}

// unexpected is an error of reading where more should have come.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
