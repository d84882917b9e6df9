package irc

import (
	"testing"
	"time"

	"trestle/bridges/irc/wire"
)

// A server on the same machine has answered before write(2) has returned.
func TestARefusalMayComeBeforeTheWriterSaysThatItHasWritten(t *testing.T) {
	p := &puppet{net: &network{service: &Service{journal: &journal{events: map[int64]progress{}}}}}
	p.speech.init(p.net, p, nil)
	l := &line{channel: "#c", text: "x", end: []byte("PRIVMSG #c :x\r\n"), seq: 1, written: make(chan struct{}), verdict: make(chan verdict, 1)}
	p.speech.line = l
	no := &wire.Message{Command: "404", Params: []string{"alice", "#c", "Cannot send to channel"}}
	p.speech.refused(no) // about something before
	p.speech.writes([]byte("PING 1\r\n"), false)
	p.speech.refused(no)
	if len(l.verdict) > 0 {
		t.Fatal("a line that nobody has sent is refused")
	}
	p.speech.writes(append([]byte("PING 1\r\n"), l.end...), false)
	for _, other := range [][]string{
		{"482", "alice", "#c", "You are not an operator"}, {"478", "alice", "#c", "+b", "The list is full"}, {"443", "alice", "bob", "#c", "is there"},
		{"FAIL", "REDACT", "UNKNOWN_MSGID", "#c", "1", "There is no such message"},
	} {
		p.speech.refused(&wire.Message{Command: other[0], Params: other[1:]})
	}
	if len(l.verdict) > 0 {
		t.Fatal("a line is refused by what answers something else")
	}
	p.speech.refused(no)
	select {
	case v := <-l.verdict:
		if v.refused == nil {
			t.Errorf("the verdict is %+v", v)
		}
	default:
		t.Error("the refusal is lost")
	}
}

// What the kernel has is in doubt until somebody has seen it: this process and the server may die together.
func TestWhatWasHandedOverIsInDoubtUntilItIsSeen(t *testing.T) {
	log := &journal{events: map[int64]progress{}}
	p := &puppet{net: &network{service: &Service{journal: log}}}
	p.speech.init(p.net, p, nil)
	l := &line{channel: "#c", text: "x", end: []byte("PRIVMSG #c :x\r\n"), seq: 1, after: progress{Line: 1}, written: make(chan struct{}), verdict: make(chan verdict, 1)}
	p.speech.line = l
	p.speech.writes(l.end, false)
	p.speech.writes(l.end, true)
	if at := log.at(1); !at.Doubt || at.Line != 1 {
		t.Errorf("the journal has %+v", at)
	}
	p.speech.confirm(l)
	if at := log.at(1); at.Doubt || at.Line != 1 {
		t.Errorf("then the journal has %+v", at)
	}
}

// Lines that the bot is never shown are not remembered for good.
func TestOwedLinesAreForgotten(t *testing.T) {
	s := new(speech)
	for range 100 {
		s.owed = append(s.owed, owed{"#c", "x", time.Now().Add(-time.Second)})
	}
	s.decide(&line{channel: "#c", text: "y", verdict: make(chan verdict, 1)}, verdict{taken: true}, true)
	if len(s.owed) != 1 || s.owed[0].text != "y" {
		t.Errorf("%d lines are owed", len(s.owed))
	}
}
