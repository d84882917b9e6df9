package search

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestTerms(t *testing.T) {
	for text, want := range map[string]string{
		"Hello, World! hello": "hello world",
		"Größe ΣΊΣΥΦΟΣ ſo":    "große σισυφοσ so",
		"ﬁne ＦＵＬＬ ½":          "fine full 1 2",
		"don't re-do a_b":     "don t re do a b",
		"全文索引":                "全文 文索 索引",
		"index全文x":            "index 全文 x",
		"字":                   "字",
		"हिन्दी עברית العربية":      "हिन्दी עברית العربية",
		"🙂 !? \" ' * ( ) : & | <->": "",
		"":                          "",
		strings.Repeat("a", 100):    strings.Repeat("a", maxWord),
	} {
		words, _ := terms(text)
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if words, shown := terms(strings.Repeat("x ", 5) + "Größe 全文索引"); !slices.Equal(shown, []string{"x", "größe", "全文索引"}) {
		t.Errorf("highlights of %q: %q", words, shown)
	}
}

// Whatever somebody sends, its words fit into the index.
func TestWordsAreBounded(t *testing.T) {
	var b strings.Builder
	for r := rune(0x4E00); b.Len() < 200_000; r++ {
		b.WriteRune(r)
		b.WriteString("\uFDFA") // eighteen letters in one
	}
	size := 0
	for word := range count(b.String()).counts {
		size += len(word) + 8
	}
	if size >= 1<<20 {
		t.Errorf("%d bytes", size)
	}
}

// The more often a word is there the better, and the more else is there the worse.
func TestScore(t *testing.T) {
	word := []string{"word"}
	once, twice, long := count("word").score(word), count("word word").score(word), count("word "+strings.Repeat("other ", 50)).score(word)
	if !(twice > once && once > long && long > 0) {
		t.Error(once, twice, long)
	}
}

// Whatever a text is, its words are found in it, and have nothing in them that
// means something to a database.
func FuzzWords(f *testing.F) {
	for _, text := range []string{"Hello, World", "全文索引 ガイド", "a'b\"c", "\x00\xff", "é́ ﬁ", "¶1 §2 ¤body"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		stored := count(text)
		words, highlights := terms(text)
		if len(words) > maxTerms || len(highlights) > maxTerms || len(stored.counts) > maxWords {
			t.Fatalf("%d words, %d highlights, %d stored", len(words), len(highlights), len(stored.counts))
		}
		for _, word := range words {
			if len(stored.counts) < maxWords && stored.counts[word] == 0 {
				t.Fatalf("%q is not among the words of %q", word, text)
			}
			for _, r := range word {
				if r == unicode.ReplacementChar || !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) {
					t.Fatalf("%q has %q", word, r)
				}
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{Recent: true, UpTo: 5, Position: 3, Count: 7, Group: ByRoom, Value: "!a:b"}.String())
	f.Add(cursor{UpTo: 5, Position: 3, Score: 0.123456789, Count: 1}.String())
	f.Add("x")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := parseCursor(token)
		if err != nil {
			return
		}
		again, err := parseCursor(c.String())
		if err != nil || again != c {
			t.Fatalf("%+v became %+v: %v", c, again, err)
		}
	})
}
