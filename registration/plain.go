package registration

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// A plain expression is a text, then anything on one line, then perhaps another
// text, as nearly all are: "@irc_.*:example\.org". It is decided by comparing
// these texts, with no need to remember the answer.
type plain struct{ before, after string }

// plainly takes an expression for what it is, if it is that.
func plainly(regex string) *plain {
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return nil
	}
	tree = tree.Simplify()
	if tree.Op != syntax.OpConcat {
		return nil
	}
	parts := tree.Sub
	if parts[0].Op == syntax.OpBeginText {
		parts = parts[1:]
	}
	if n := len(parts) - 1; n >= 0 && parts[n].Op == syntax.OpEndText {
		parts = parts[:n]
	}
	if len(parts) < 2 || len(parts) > 3 || parts[1].Op != syntax.OpStar || parts[1].Sub[0].Op != syntax.OpAnyCharNotNL {
		return nil
	}
	before, ok := literally(parts[0])
	if !ok {
		return nil
	}
	p := &plain{before: before}
	if len(parts) == 3 {
		if p.after, ok = literally(parts[2]); !ok {
			return nil
		}
	}
	return p
}

// literally is the text that an expression stands for. The character that also
// stands for bytes that are none is left to the expressions.
func literally(re *syntax.Regexp) (string, bool) {
	if re.Op != syntax.OpLiteral || re.Flags&syntax.FoldCase != 0 {
		return "", false
	}
	text := string(re.Rune)
	return text, !strings.ContainsRune(text, utf8.RuneError)
}

func (p *plain) matches(id string) bool {
	return len(id) >= len(p.before)+len(p.after) && strings.HasPrefix(id, p.before) && strings.HasSuffix(id, p.after) &&
		strings.IndexByte(id[len(p.before):len(id)-len(p.after)], '\n') < 0
}
