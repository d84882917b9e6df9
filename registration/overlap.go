package registration

import (
	"regexp/syntax"
	"unicode"
)

// maxTuples bounds the search for a text that several expressions match.
const maxTuples = 50_000

// An Answer is what is known of two expressions.
type Answer int

// The answers. Unknown is that of expressions which are so large that the
// search was given up, or that look at what is around a place (\b).
const (
	No Answer = iota
	Yes
	Unknown
)

// Overlap finds a short text that both expressions match, and a third one as
// well, within, which says what an ID looks like.
func Overlap(a, b Namespace, within Namespace) (example string, answer Answer) {
	var programs [3]*program
	for i, regex := range []string{a.Regex, b.Regex, within.Regex} {
		var err error
		if programs[i], err = newProgram(regex); err != nil {
			return "", Unknown
		}
	}
	if example, answer = intersect(programs); answer != Yes {
		return "", answer
	}
	// Assertions inside of an expression were taken for true on the way.
	if !a.Matches(example) || !b.Matches(example) || !within.Matches(example) {
		return "", Unknown
	}
	return example, Yes
}

// Apart reports whether two expressions have nothing in common for certain,
// from their literal beginnings: it is cheap.
func Apart(a, b Namespace) bool {
	for _, one := range heads(a.Regex) {
		for _, other := range heads(b.Regex) {
			n := min(len(one), len(other))
			if one[:n] == other[:n] {
				return false
			}
		}
	}
	return true
}

func heads(regex string) []string {
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return []string{""}
	}
	list, _ := literals(tree.Simplify())
	return list
}

// Beginning is the literal text that all matches of an expression begin with.
func Beginning(n Namespace) string {
	list := heads(n.Regex)
	if len(list) == 0 {
		return ""
	}
	common := list[0]
	for _, head := range list[1:] {
		i := 0
		for i < min(len(common), len(head)) && common[i] == head[i] {
			i++
		}
		common = common[:i]
	}
	return common
}

// A program is an expression as an automaton that has to match a whole text.
type program struct {
	instructions []syntax.Inst
	start        uint32
	closures     map[uint32][]uint32
}

func newProgram(regex string) (*program, error) {
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return nil, err
	}
	compiled, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	return &program{compiled.Inst, uint32(compiled.Start), map[uint32][]uint32{}}, nil
}

// closure is the instructions that take a character, or match, which are
// reached from pc without taking one.
func (p *program) closure(pc uint32) []uint32 {
	if list, ok := p.closures[pc]; ok {
		return list
	}
	var list []uint32
	seen := map[uint32]bool{}
	stack := []uint32{pc}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[at] {
			continue
		}
		seen[at] = true
		switch in := &p.instructions[at]; in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, in.Arg, in.Out)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			stack = append(stack, in.Out)
		case syntax.InstFail:
		default:
			list = append(list, at)
		}
	}
	p.closures[pc] = list
	return list
}

type tuple [3]uint32

// step is how a tuple was reached.
type step struct {
	before tuple
	by     rune
	first  bool
}

// intersect walks all automata at once, breadth first, and gives up at
// maxTuples.
func intersect(programs [3]*program) (string, Answer) {
	reached := map[tuple]step{}
	var queue []tuple
	add := func(at tuple, how step) {
		for _, x := range programs[0].closure(at[0]) {
			for _, y := range programs[1].closure(at[1]) {
				for _, z := range programs[2].closure(at[2]) {
					if len(reached) == maxTuples {
						return
					}
					next := tuple{x, y, z}
					if _, ok := reached[next]; !ok {
						reached[next] = how
						queue = append(queue, next)
					}
				}
			}
		}
	}
	add(tuple{programs[0].start, programs[1].start, programs[2].start}, step{first: true})
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		matched, next := 0, tuple{}
		ranges := []rune{0, unicode.MaxRune}
		for i, p := range programs {
			in := &p.instructions[at[i]]
			if in.Op == syntax.InstMatch {
				matched++
				continue
			}
			ranges, next[i] = common(ranges, runes(in)), in.Out
		}
		if matched == len(programs) {
			return way(reached, at), Yes
		}
		if matched == 0 && len(ranges) > 0 {
			add(next, step{before: at, by: legible(ranges)})
		}
	}
	if len(reached) == maxTuples {
		return "", Unknown
	}
	return "", No
}

// way is the text that leads to a tuple.
func way(reached map[tuple]step, at tuple) string {
	var text []rune
	for how := reached[at]; !how.first; how = reached[how.before] {
		text = append(text, how.by)
	}
	for i, j := 0, len(text)-1; i < j; i, j = i+1, j-1 {
		text[i], text[j] = text[j], text[i]
	}
	return string(text)
}

// runes is the pairs of first and last character that an instruction takes.
func runes(in *syntax.Inst) []rune {
	switch in.Op {
	case syntax.InstRuneAny:
		return []rune{0, unicode.MaxRune}
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	case syntax.InstRune1:
		return []rune{in.Rune[0], in.Rune[0]}
	}
	if len(in.Rune) != 1 {
		return in.Rune
	}
	first := in.Rune[0]
	pairs := []rune{first, first}
	if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
		for r := unicode.SimpleFold(first); r != first; r = unicode.SimpleFold(r) {
			pairs = append(pairs, r, r)
		}
	}
	return pairs
}

// common is what two lists of pairs share.
func common(a, b []rune) []rune {
	var list []rune
	for i := 0; i+1 < len(a); i += 2 {
		for j := 0; j+1 < len(b); j += 2 {
			if low, high := max(a[i], b[j]), min(a[i+1], b[j+1]); low <= high {
				list = append(list, low, high)
			}
		}
	}
	return list
}

// legible is a character of a list of pairs, a letter if there is one.
func legible(pairs []rune) rune {
	for _, wanted := range [][2]rune{{'a', 'z'}, {'0', '9'}, {'!', '~'}} {
		if c := common(pairs, wanted[:]); len(c) > 0 {
			return c[0]
		}
	}
	return pairs[0]
}
