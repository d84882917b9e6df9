package format

import (
	"strings"
	"unicode/utf8"
)

const (
	maxChange  = 200  // bytes of an s/old/new/ that is still easier to read than the text
	maxShown   = 300  // bytes of a text around its change
	aroundEdit = 60   // bytes of it before the change
	maxWords   = 4000 // that are compared
)

// Difference is a line that tells what became of a text: "s/old/new/" with whole words,
// where that says it all, else the new text, or, if it is long, the part of it that
// has changed. It is empty if nothing has. before is empty where the old text is not
// known.
func Difference(before, after string) string {
	if before == "" {
		return around(after, 0)
	}
	old, fresh := words(before), words(after)
	head, tail := shared(old, fresh)
	gone, come := old[head:len(old)-tail], fresh[head:len(fresh)-tail]
	if len(gone) == 0 && len(come) == 0 {
		if len(old) == maxWords {
			return around(after, 0)
		}
		return ""
	}
	// Somewhere a word more must say where something came or went, and which of several
	// equal ones is meant.
	from, to, end := head, len(old)-tail, len(fresh)-tail
	for len(gone) == 0 || len(come) == 0 || repeated(old, from, to) {
		switch {
		case from > 0:
			from--
		case to < len(old):
			to++
			end++
		default:
			return around(after, offset(after, head))
		}
		gone, come = old[from:to], fresh[from:end]
		if size(gone)+size(come) > maxChange {
			break
		}
	}
	if kept := len(old) - (to - from); size(gone)+size(come) > maxChange || kept < to-from && to-from > 2 {
		return around(after, offset(after, head))
	}
	return "s/" + slashless(gone) + "/" + slashless(come) + "/"
}

// words are a text's first words.
func words(text string) []string {
	list := strings.Fields(text)
	return list[:min(len(list), maxWords)]
}

// shared counts the words that two texts begin with, and those that they end with.
func shared(a, b []string) (head, tail int) {
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head, tail
}

// repeated tells whether the words from one place to another are in the list a second time.
func repeated(list []string, from, to int) bool {
	for i := 0; i+to-from <= len(list); i++ {
		if i == from {
			continue
		}
		same := true
		for k := range to - from {
			if list[i+k] != list[from+k] {
				same = false
				break
			}
		}
		if same {
			return true
		}
	}
	return false
}

func size(list []string) int {
	n := 0
	for _, word := range list {
		n += len(word) + 1
	}
	return n
}

// slashless joins words so that no slash of theirs ends the expression.
func slashless(list []string) string {
	return strings.ReplaceAll(strings.Join(list, " "), "/", `\/`)
}

// offset is where the nth word of a text begins.
func offset(text string, n int) int {
	at := 0
	for ; n >= 0; n-- {
		rest := strings.TrimLeft(text[at:], white)
		at = len(text) - len(rest)
		if n > 0 {
			end := strings.IndexAny(rest, white)
			if end < 0 {
				return len(text)
			}
			at += end
		}
	}
	return at
}

// around is a text on one line, or, if it is long, what is around a place in it.
func around(text string, at int) string {
	if len(text) <= maxShown {
		return strings.Join(strings.Fields(text), " ")
	}
	start := max(0, min(at-aroundEdit, len(text)-maxShown))
	end := min(len(text), start+maxShown)
	for start > 0 && !utf8.RuneStart(text[start]) {
		start--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	shown := strings.Join(strings.Fields(text[start:end]), " ")
	if start > 0 {
		shown = "…" + shown
	}
	if end < len(text) {
		shown += "…"
	}
	return shown
}
