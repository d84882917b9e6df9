package irc

import (
	"testing"

	"trestle/bridges/irc/wire"
)

// A server on the same machine has answered before write(2) has returned.
func TestARefusalMayComeBeforeTheWriterSaysThatItHasWritten(t *testing.T) {
	p := &puppet{net: &network{service: &Service{journal: &journal{events: map[int64]progress{}}}}}
	p.speech.init(p)
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
