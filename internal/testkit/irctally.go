package testkit

import "fmt"

// An IRCTally is what became of numbered messages.
type IRCTally struct {
	Said, Lost, Doubled, Disordered int
	Torn                            int      // lost or doubled when the server died that showed them around
	Where                           []string // it was lost, doubled or out of order

	marked                    int // the bridge has said of these that it cannot know
	lostMarked, doubledMarked int // so much for what it said
	unseen                    int // said before there was anybody to hear them
}

func (c *IRCTally) String() string {
	text := fmt.Sprintf("%d said: %d lost, %d doubled, %d out of order; of %d marked ones %d lost and %d doubled",
		c.Said, c.Lost, c.Doubled, c.Disordered, c.marked, c.lostMarked, c.doubledMarked)
	if c.Torn+c.unseen > 0 {
		text += fmt.Sprintf("; %d shown to some and not to others by a server that was being killed, %d said before the witness was back", c.Torn, c.unseen)
	}
	return text
}

// Tally compares what bob has heard with what alice has said, the numbers from 1 to n.
func (b *IRCWitness) Tally(n int, marked map[int]bool) *IRCTally {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &IRCTally{Said: n, marked: len(marked)}
	seen, highest := map[int]int{}, IRCHeard{Life: -1} // lives in which numbers were heard
	for _, h := range append(b.seen.Heard, IRCHeard{Number: n + 1, Life: -1}) {
		for missing := highest.Number + 1; missing < h.Number; missing++ {
			switch {
			case marked[missing]:
				c.lostMarked++
			case h.late && h.Life != highest.Life:
				c.unseen++
			case h.Life != highest.Life && h.Number <= n:
				c.Torn++
			default:
				c.Lost++
				c.Where = append(c.Where, fmt.Sprintf("%d is missing between %v and %v", missing, highest, h))
			}
		}
		if life, again := seen[h.Number]; again {
			switch {
			case marked[h.Number]:
				c.doubledMarked++
			case life != h.Life:
				c.Torn++
			default:
				c.Doubled++
				c.Where = append(c.Where, fmt.Sprintf("%v comes again", h))
			}
		} else if h.Number < highest.Number {
			c.Disordered++
			c.Where = append(c.Where, fmt.Sprintf("%v comes after %v", h, highest))
		}
		seen[h.Number] = h.Life
		if h.Number > highest.Number {
			highest = h
		}
	}
	return c
}

// TallyNumbers compares the numbers that came with those that had to.
func TallyNumbers(got, wanted []int) *IRCTally {
	c := &IRCTally{Said: len(wanted)}
	seen := map[int]bool{}
	for i, number := range got {
		if seen[number] {
			c.Doubled++
			c.Where = append(c.Where, fmt.Sprintf("%d comes again", number))
		} else if i > 0 && number < got[i-1] {
			c.Disordered++
			c.Where = append(c.Where, fmt.Sprintf("%d comes after %d", number, got[i-1]))
		}
		seen[number] = true
	}
	for _, number := range wanted {
		if !seen[number] {
			c.Lost++
			c.Where = append(c.Where, missing(number))
		}
	}
	return c
}

func missing(number int) string { return fmt.Sprintf("%d is missing", number) }

// TallyHoles looks at bursts, each from one number to another, amid which the bridge has died: what has come of
// one is its beginning.
func (c *IRCTally) TallyHoles(got []int, bursts [][2]int) {
	seen := map[int]bool{}
	for _, number := range got {
		seen[number] = true
	}
	for _, b := range bursts {
		ended := false
		for i := b[0]; i <= b[1]; i++ {
			if seen[i] && ended {
				c.Lost++
				c.Where = append(c.Where, missing(i-1))
			}
			ended = !seen[i]
		}
	}
}
