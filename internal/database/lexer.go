package database

import (
	"fmt"
	"strings"
)

type tokenKind uint8

const (
	tokenSpace   tokenKind = iota // white space
	tokenComment                  // -- to the end of the line, or /* */
	tokenWord                     // keyword or bare identifier
	tokenQuoted                   // "identifier"
	tokenString                   // 'text' or $tag$text$tag$
	tokenNumber
	tokenParameter // $1
	tokenSymbol    // operator or punctuation
)

// A token is a piece of SQL text. The texts of all tokens, joined, are the
// input again.
type token struct {
	kind tokenKind
	text string
}

// is reports whether the token is the keyword or symbol, in any case.
func (t token) is(text string) bool {
	return (t.kind == tokenWord || t.kind == tokenSymbol) && strings.EqualFold(t.text, text)
}

// isSpace reports whether the token separates others and means nothing.
func (t token) isSpace() bool { return t.kind == tokenSpace || t.kind == tokenComment }

// symbols longer than one byte, longest first.
var symbols = []string{"->>", "#>>", "!~*", "::", "<>", "!=", "<=", ">=", "||", "->", "#>", "@>", "<@", "&&", "!~", "~*", "<<", ">>", "@@", "?|", "?&", ":=", "=="}

// tokenize splits PostgreSQL text (standard_conforming_strings on).
func tokenize(sql string) ([]token, error) {
	tokens := make([]token, 0, len(sql)/4+4)
	for i := 0; i < len(sql); {
		kind, length, err := scanToken(sql[i:])
		if err != nil {
			return nil, fmt.Errorf("at byte %d: %w", i, err)
		}
		tokens = append(tokens, token{kind, sql[i : i+length]})
		i += length
	}
	return tokens, nil
}

func scanToken(s string) (tokenKind, int, error) {
	c := s[0]
	switch {
	case isSpaceByte(c):
		return tokenSpace, span(s, isSpaceByte), nil
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexByte(s, '\n'); end >= 0 {
			return tokenComment, end, nil
		}
		return tokenComment, len(s), nil
	case strings.HasPrefix(s, "/*"):
		return scanBlockComment(s)
	case c == '\'':
		n, err := scanQuoted(s, '\'')
		return tokenString, n, err
	case c == '"':
		n, err := scanQuoted(s, '"')
		return tokenQuoted, n, err
	case c == '$':
		return scanDollar(s)
	case isDigit(c), c == '.' && len(s) > 1 && isDigit(s[1]):
		return tokenNumber, span(s, isNumberByte), nil
	case isWordStart(c):
		n := span(s, isWordByte)
		// E'…', B'…', X'…' and U&'…' have escapes of their own.
		if n < len(s) && s[n] == '\'' || n+1 < len(s) && s[n] == '&' && (s[n+1] == '\'' || s[n+1] == '"') {
			return 0, 0, fmt.Errorf("a string with the prefix %s is not supported", s[:n])
		}
		return tokenWord, n, nil
	case c == 0:
		return 0, 0, fmt.Errorf("a NUL byte")
	}
	for _, symbol := range symbols {
		if strings.HasPrefix(s, symbol) {
			return tokenSymbol, len(symbol), nil
		}
	}
	return tokenSymbol, 1, nil
}

// scanBlockComment returns the length of a comment; they nest in PostgreSQL,
// but not in SQLite, so that a nested one is refused.
func scanBlockComment(s string) (tokenKind, int, error) {
	end := strings.Index(s[2:], "*/")
	if end < 0 {
		return 0, 0, fmt.Errorf("a comment without an end")
	}
	if strings.Contains(s[2:2+end], "/*") {
		return 0, 0, fmt.Errorf("a comment inside a comment")
	}
	return tokenComment, end + 4, nil
}

// scanQuoted returns the length of a quoted text, in which a doubled quote is
// one quote.
func scanQuoted(s string, quote byte) (int, error) {
	for i := 1; i < len(s); i++ {
		if s[i] == 0 {
			return 0, fmt.Errorf("a NUL byte")
		}
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		return i + 1, nil
	}
	return 0, fmt.Errorf("a quote %c without its end", quote)
}

// scanDollar scans a parameter ($1) or a dollar-quoted string ($tag$…$tag$).
func scanDollar(s string) (tokenKind, int, error) {
	if digits := span(s[1:], isDigit); digits > 0 {
		if next := 1 + digits; next < len(s) && isWordByte(s[next]) {
			return 0, 0, fmt.Errorf("text directly after the placeholder %s", s[:next])
		}
		return tokenParameter, 1 + digits, nil
	}
	tag := s[:1+span(s[1:], isTagByte)]
	if len(tag) == len(s) || s[len(tag)] != '$' {
		return 0, 0, fmt.Errorf("a dollar sign outside of a placeholder")
	}
	tag += "$"
	end := strings.Index(s[len(tag):], tag)
	if end < 0 {
		return 0, 0, fmt.Errorf("a string %s without its end", tag)
	}
	return tokenString, end + 2*len(tag), nil
}

// span returns how many of the first bytes satisfy a condition.
func span(s string, in func(byte) bool) int {
	for i := range len(s) {
		if !in(s[i]) {
			return i
		}
	}
	return len(s)
}

func isSpaceByte(c byte) bool {
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'
}
func isDigit(c byte) bool     { return '0' <= c && c <= '9' }
func isWordStart(c byte) bool { return c == '_' || c >= 0x80 || 'a' <= c|0x20 && c|0x20 <= 'z' }
func isWordByte(c byte) bool  { return isWordStart(c) || isDigit(c) || c == '$' }
func isTagByte(c byte) bool   { return isWordStart(c) || isDigit(c) }

func isNumberByte(c byte) bool { return isDigit(c) || c == '.' || isWordStart(c) }
