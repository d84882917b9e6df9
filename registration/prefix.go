package registration

import "regexp/syntax"

// maxHeads bounds the literal beginnings kept for one expression.
const maxHeads = 64

// literals returns strings of which every match begins with one. whole says
// that the matches are exactly these strings. The tree must be simplified.
func literals(re *syntax.Regexp) (heads []string, whole bool) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return []string{""}, false
		}
		return []string{string(re.Rune)}, true
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText:
		// Anchors only take matches away, which a superset may ignore.
		return []string{""}, true
	case syntax.OpCapture:
		return literals(re.Sub[0])
	case syntax.OpPlus:
		heads, _ = literals(re.Sub[0])
		return heads, false
	case syntax.OpQuest:
		heads, whole = literals(re.Sub[0])
		return append([]string{""}, heads...), whole
	case syntax.OpCharClass:
		return classLiterals(re)
	case syntax.OpAlternate:
		return alternateLiterals(re)
	case syntax.OpConcat:
		return concatLiterals(re)
	}
	return []string{""}, false
}

func classLiterals(re *syntax.Regexp) (heads []string, whole bool) {
	for i := 0; i+1 < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if len(heads) == maxHeads {
				return []string{""}, false
			}
			heads = append(heads, string(r))
		}
	}
	return heads, true
}

func alternateLiterals(re *syntax.Regexp) (heads []string, whole bool) {
	whole = true
	for _, sub := range re.Sub {
		h, w := literals(sub)
		if heads = append(heads, h...); len(heads) > maxHeads {
			return []string{""}, false
		}
		whole = whole && w
	}
	return heads, whole
}

func concatLiterals(re *syntax.Regexp) (heads []string, whole bool) {
	heads, whole = []string{""}, true
	for _, sub := range re.Sub {
		tails, w := literals(sub)
		if len(heads)*len(tails) > maxHeads {
			return heads, false
		}
		var joined []string
		for _, head := range heads {
			for _, tail := range tails {
				joined = append(joined, head+tail)
			}
		}
		heads = joined
		if !w {
			return heads, false
		}
	}
	return heads, whole
}
