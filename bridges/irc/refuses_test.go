package irc

import (
	"errors"
	"testing"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// Who says too much is told when that begins and how much it was, each time.
func TestWhatIsRefusedIsTold(t *testing.T) {
	s, seq := &speech{puppet: &puppet{}, conn: &wire.Conn{}, upSeq: 10}, int64(11)
	added, patience := time.Now().Add(-time.Hour), time.Minute
	say := func(sender matrix.UserID, n int) (taken, told, still, missed int) {
		t.Helper()
		for range n {
			u := &utterance{event: "$e", sender: sender, seq: seq, added: added}
			switch before, err := s.refuses(u, patience); {
			case err == nil:
				s.queue = append(s.queue, u)
				taken, missed = taken+1, missed+before
			case errors.Is(err, errTooMuch):
				told++
			case errors.Is(err, errStill):
				still++
			}
		}
		return
	}
	for range 2 {
		if taken, told, still, missed := say("@a:b", maxBacklog+10); taken != maxBacklog || told != 1 || still != 9 || missed != 0 {
			t.Errorf("%d are taken, %d refused with a word, %d without, %d missed", taken, told, still, missed)
		}
		if taken, told, _, _ := say("@other:b", 1); taken != 1 || told != 0 {
			t.Error("somebody else is held up")
		}
		s.queue = s.queue[20:]
		if taken, _, still, _ := say("@a:b", 5); taken != 0 || still != 5 {
			t.Errorf("%d are taken while there is much to say", taken)
		}
		s.queue = nil
		if taken, told, _, missed := say("@a:b", 1); taken != 1 || told != 0 || missed != 15 {
			t.Errorf("afterwards %d are taken, %d missed", taken, missed)
		}
		if _, _, _, missed := say("@a:b", 1); missed != 0 {
			t.Error("it is told twice")
		}
		s.queue = nil
	}
	say("@a:b", maxBacklog)
	s.conn = nil
	if taken, _, _, _ := say("@a:b", 3); taken != 3 {
		t.Error("what is said without a connection does not wait for one")
	}
	s.conn, seq = &wire.Conn{}, 10
	if taken, _, _, _ := say("@a:b", 3); taken != 3 {
		t.Error("what has piled up is not said")
	}
	seq, patience = 11, 2*time.Hour
	if taken, _, _, _ := say("@a:b", 3); taken != 3 {
		t.Error("what waits for a moment only is not said")
	}
}
