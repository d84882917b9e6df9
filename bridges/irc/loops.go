package irc

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/format"
	"trestle/internal/matrix"
)

const (
	loopEcho    = 30 * time.Second // within which a repetition counts
	loopShort   = 10 * time.Second // the same for texts that many people say anyway
	loopLong    = 16               // bytes from which two people do not say the same by chance
	loopRepeats = 3                // in a row, of one who repeats others: then nobody hears it
	loopHops    = 20               // of one text, by whomever: it may be a greeting to a crowd
	loopChance  = 60               // the same for short texts
	loopMuted   = 10 * time.Minute // for so long
	loopTexts   = 300              // of a channel that are remembered
	loopVoices  = 1000             // of a channel, who repeat others; and texts that are repeated
	loopSweep   = time.Second      // between two looks for those who do not any more
)

// loops finds out when what has crossed the bridge comes back over another one, and ends that. Nobody
// says that a message is an echo: it is one if somebody repeats, in a row, what others have just said, long
// texts, or under their names. It is safe for concurrent use.
type loops struct {
	mu       sync.Mutex
	channels map[string]*crossings
}

// crossings are what was said in one channel, on both sides of it.
type crossings struct {
	texts  []crossed
	voices map[string]*voice // who have repeated others
	hops   map[string]*hops  // texts that were repeated
	swept  time.Time
}

// A crossed is a text that has crossed the bridge, or tried to.
type crossed struct {
	core, by, name string
	at             time.Time
	echo           bool
}

// A voice is somebody, by how often in a row they repeated others.
type voice struct {
	echoes      int
	last, muted time.Time // until when
}

// hops are how often a text was repeated, by whomever.
type hops struct {
	count int
	last  time.Time
}

// A speaker is who says something: as nobody else is called, and as people call them.
type speaker struct{ id, name string }

// A crossing is what becomes of something that would cross the bridge.
type crossing struct {
	cut    bool // it must not
	news   bool // which was not so before
	circle bool // because of the text, whoever says it
}

// crosses notes that somebody says something that would cross the bridge.
func (l *loops) crosses(channel string, by speaker, text string, now time.Time) crossing {
	core, names := coreOf(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channels[channel]
	if c == nil {
		if l.channels == nil {
			l.channels = map[string]*crossings{}
		}
		c = &crossings{voices: map[string]*voice{}, hops: map[string]*hops{}}
		l.channels[channel] = c
	}
	c.expire(now)
	if core == "" {
		return crossing{}
	}
	by.name = strings.ToLower(by.name)
	repeats, echo := c.repeats(core, by, names, now)
	c.texts = append(c.texts, crossed{core, by.id, by.name, now, echo})
	if v := c.voice(by.id, echo); v != nil {
		v.last = now
		switch {
		case now.Before(v.muted):
			return crossing{cut: true}
		case echo:
			v.echoes++
		case !repeats:
			delete(c.voices, by.id)
		}
		if v.echoes >= loopRepeats {
			v.muted, v.echoes = now.Add(loopMuted), 0
			return crossing{cut: true, news: true}
		}
	}
	return c.circles(core, repeats, now)
}

// repeats tells whether somebody else has just said the same, and whether that is no chance.
func (c *crossings) repeats(core string, by speaker, names []string, now time.Time) (repeats, echo bool) {
	for _, t := range c.texts {
		if t.core != core || t.by == by.id || now.Sub(t.at) > loopEcho {
			continue
		}
		repeats = true
		echo = echo || len(core) >= loopLong || len(t.name) > 1 && strings.Contains(by.name, t.name)
		for _, name := range names {
			echo = echo || name == t.name
		}
	}
	return repeats, echo
}

// circles tells whether a text goes round and round, each time under another name. Nobody is silenced for
// that: a crowd that congratulates somebody looks the same.
func (c *crossings) circles(core string, repeats bool, now time.Time) crossing {
	most, within := loopHops, loopEcho
	if len(core) < loopLong {
		most, within = loopChance, loopShort
	}
	h := c.hops[core]
	if h == nil && !repeats {
		return crossing{}
	}
	if h == nil || now.Sub(h.last) > within {
		h = &hops{}
		c.hops[core] = h
	}
	h.last = now
	if repeats {
		h.count++
	}
	if h.count < most {
		return crossing{}
	}
	return crossing{cut: true, news: repeats && h.count == most, circle: true}
}

// voice is somebody who has repeated others, or does so now; else nil.
func (c *crossings) voice(id string, echo bool) *voice {
	v := c.voices[id]
	if v == nil && echo {
		v = &voice{}
		c.voices[id] = v
	}
	return v
}

// expire forgets what no longer matters.
func (c *crossings) expire(now time.Time) {
	old := 0
	for old < len(c.texts) && (now.Sub(c.texts[old].at) > loopEcho || len(c.texts)-old >= loopTexts) {
		old++
	}
	c.texts = c.texts[old:]
	if len(c.voices) < loopVoices && len(c.hops) < loopVoices {
		return
	}
	if now.Sub(c.swept) < loopSweep {
		return
	}
	c.swept = now
	for id, v := range c.voices {
		if now.After(v.muted) && now.Sub(v.last) > loopEcho {
			delete(c.voices, id)
		}
	}
	for core, h := range c.hops {
		if now.Sub(h.last) > loopEcho {
			delete(c.hops, core)
		}
	}
	if len(c.voices) >= 10*loopVoices || len(c.hops) >= 10*loopVoices { // so many repeat each other: that is no bridge
		clear(c.voices)
		clear(c.hops)
	}
}

// maxCore bounds what is compared of a text.
const maxCore = 300

// coreOf is what a text says, without how it looks and without the names that bridges put before it,
// which are given too.
func coreOf(text string) (core string, names []string) {
	core = strings.ToLower(strings.ReplaceAll(oneLine(format.Strip(text)), zeroWidth, ""))
	for range 3 {
		name, rest, ok := speakerMark(core)
		if !ok {
			break
		}
		core, names = rest, append(names, name)
	}
	core = strings.Join(strings.Fields(core), " ")
	return core[:min(len(core), maxCore)], names
}

// speakerMark takes a name in brackets, or before a colon, off the beginning of a text.
func speakerMark(text string) (name, rest string, ok bool) {
	text = strings.TrimPrefix(text, "* ")
	for _, marks := range []string{"<>", "[]", "()", "{}", "«»"} {
		opening := strings.TrimSuffix(marks, marks[len(marks)/2:])
		if inner, found := strings.CutPrefix(text, opening); found {
			name, rest, ok = strings.Cut(inner, marks[len(marks)/2:])
			return name, strings.TrimSpace(rest), ok && name != "" && !strings.Contains(name, " ") && strings.TrimSpace(rest) != ""
		}
	}
	word, rest, _ := strings.Cut(text, " ")
	name, ok = strings.CutSuffix(word, ":")
	return name, rest, ok && name != "" && strings.TrimSpace(rest) != ""
}

// looped tells whether what somebody says on IRC is what has come over the bridge, and must not
// come back.
func (n *network) looped(ch *channel, nick, text string) bool {
	v := n.loops.crosses(ch.key, speaker{"irc " + n.fold(nick), decode(nick)}, text, time.Now())
	if v.news {
		n.cutLoop(ch, decode(nick)+" on IRC", text, v.circle)
	}
	return v.cut
}

// loopedBack is the same for what somebody says in the room. What was said before a restart is
// not looked at again.
func (n *network) loopedBack(p *bridge.Portal, e *client.Event, lines []string) bool {
	user := matrix.UserID(e.Sender)
	if p.Direct() || n.service.journal.at(e.Seq) != (progress{}) {
		return false
	}
	name, ok := n.nickOf(string(user))
	if !ok {
		name = user.Localpart()
	}
	text := strings.Join(lines, "\n")
	v := n.loops.crosses(p.Key().Channel, speaker{string(user), name}, text, time.Now())
	if v.news {
		n.post(func() { n.cutLoop(n.channel(p.Name()), string(user), text, v.circle) })
	}
	if v.cut {
		n.undelivered(p, e, "it repeats what others have said, as another bridge would.")
	}
	return v.cut
}

// cutLoop says that a loop was ended: that of a text, or of somebody who repeats all texts.
func (n *network) cutLoop(ch *channel, who, text string, circle bool) {
	n.service.metrics.loops.Inc()
	n.log.Error("messages come back over another bridge; what repeats is not bridged for a while",
		"channel", ch.name, "room", ch.portal.Room(), "who", who, "text alone", circle)
	if circle {
		n.sayDirectly(ch.portal, fmt.Sprintf("“%s” goes round and round, as if there were another bridge between this room and %s. "+
			"To end that, it does not cross until nobody has said it for a while.", excerpt(text), decode(ch.name)))
		return
	}
	n.sayDirectly(ch.portal, fmt.Sprintf("%s repeats what others have said (“%s”), as another bridge between this room and %s would. "+
		"To end that, messages of theirs do not cross for %d minutes.", who, excerpt(text), decode(ch.name), int(loopMuted.Minutes())))
}
