package bridge

import "strings"

// maxTypos is how far a word may be from the one that was meant.
const maxTypos = 2

// nearest is the name that somebody most likely meant; empty if none is near.
func nearest(word string, names []string) string {
	best, distance := "", maxTypos+1
	for _, name := range names {
		if strings.HasPrefix(word, name) || len(word) > 2 && strings.HasPrefix(name, word) {
			return name
		}
		// Of a short word, most letters must be right.
		if d := typos(word, name); d < distance && 2*d < len(name) {
			best, distance = name, d
		}
	}
	return best
}

// typos is how many letters have to be added, left out, changed, or swapped with
// their neighbours to get from one word to the other. Words of very different length are
// as far apart as their lengths, at least.
func typos(a, b string) int {
	if d := len(a) - len(b); d > maxTypos || -d > maxTypos {
		return max(d, -d)
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
