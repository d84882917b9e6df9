package search

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxWord is how many letters of a word count.
	maxWord = 64
	// maxWords bounds the different words of one event, and maxTerms those
	// that are searched for at once.
	maxWords = 5000
	maxTerms = 32
	// maxText bounds what is read of a text, in bytes. It keeps the words of one
	// event below what a tsvector holds, 1 MiB.
	maxText = 64 << 10
)

// unspaced are scripts whose words are not separated: what is written in them
// is found by each pair of neighbours.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan,
}

// fold makes what is written in different ways the same: width and form,
// capital letters, accents.
func fold(s string) string {
	// A few characters become many.
	return strings.Map(func(r rune) rune {
		if 0x300 <= r && r <= 0x36F { // accents
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(r)) // ſ is s, and ς is σ
	}, cut(norm.NFKD.String(cut(s, maxText)), maxText))
}

// cut is the beginning of a text, up to so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

// eachRun calls a function with the runs of letters, digits and marks in a
// text; apart tells that their words are not separated.
func eachRun(s string, fn func(run []rune, apart bool) (more bool)) {
	var run []rune
	apart := false
	flush := func() bool {
		more := len(run) == 0 || fn(run, apart)
		run = nil
		return more
	}
	for _, r := range s {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r):
			if !flush() {
				return
			}
		case unicode.In(r, unspaced...) != apart && !unicode.IsMark(r):
			if !flush() {
				return
			}
			apart = !apart
			run = append(run, r)
		default:
			run = append(run, r)
		}
	}
	flush()
}

// A counter is the words of a text, and how often each occurs.
type counter struct {
	counts map[string]int
	length int
}

// count finds the words under which a text is stored: of unspaced scripts each
// letter, too, for those who look for a single one.
func count(text string) counter {
	c := counter{counts: map[string]int{}}
	add := func(word string) bool {
		c.counts[word]++
		c.length++
		return len(c.counts) < maxWords
	}
	eachRun(fold(text), func(run []rune, apart bool) bool {
		if !apart {
			return add(string(run[:min(len(run), maxWord)]))
		}
		for i := range run {
			if !add(string(run[i])) || i > 0 && !add(string(run[i-1:i+1])) {
				return false
			}
		}
		return true
	})
	return c
}

// terms are the words to look for, each once, and the texts to highlight.
func terms(text string) (words, highlights []string) {
	seen := map[string]bool{}
	add := func(word string) {
		if !seen[word] {
			seen[word] = true
			words = append(words, word)
		}
	}
	eachRun(fold(text), func(run []rune, apart bool) bool {
		if !apart || len(run) == 1 {
			add(string(run[:min(len(run), maxWord)]))
		}
		for i := 1; apart && i < len(run); i++ {
			add(string(run[i-1 : i+1]))
		}
		return len(words) < maxTerms
	})
	words = words[:min(len(words), maxTerms)]
	shown := map[string]bool{}
	eachRun(strings.ToLower(norm.NFC.String(cut(text, maxText))), func(run []rune, _ bool) bool {
		if word := string(run); !shown[word] {
			shown[word] = true
			highlights = append(highlights, word)
		}
		return len(highlights) < maxTerms
	})
	return words, highlights
}

// score tells how closely a text of these words matches: a word counts the
// more the more often it occurs, and the less the longer the text is (BM25
// with a usual length, since all texts have all the words).
func (c counter) score(words []string) float64 {
	const (
		often  = 1.2
		length = 0.75
		usual  = 20
	)
	sum := 0.0
	for _, word := range words {
		n := float64(c.counts[word])
		sum += n * (often + 1) / (n + often*(1-length+length*float64(c.length)/usual))
	}
	return sum
}
