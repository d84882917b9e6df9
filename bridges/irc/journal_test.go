package irc

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func openTestJournal(t *testing.T, path, instance string) *journal {
	t.Helper()
	j, err := openJournal(path, instance, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j
}

func TestJournalSurvivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := openTestJournal(t, path, "one")
	j.set(7, progress{Line: 1, Offset: 0})
	j.set(8, progress{0, 300, true})
	j.set(7, progress{Line: 2, Offset: 5})
	// Nobody closes it: the process is gone. The last record may be torn.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("9 1"); err != nil {
		t.Fatal(err)
	}
	file.Close()
	for range 2 { // it is written anew when it is opened
		j = openTestJournal(t, path, "one")
		for seq, want := range map[int64]progress{7: {2, 5, false}, 8: {0, 300, true}, 9: {}} {
			if got := j.at(seq); got != want {
				t.Errorf("event %d is at %v, want %v", seq, got, want)
			}
		}
	}
	if got := openTestJournal(t, path, "another").at(7); got != (progress{}) {
		t.Errorf("another database's event is at %v", got)
	}
}

func TestJournalDoesNotGrowForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := openTestJournal(t, path, "one")
	for seq := range int64(400_000) {
		j.set(seq, progress{Line: 1, Offset: 0})
		if seq == 5 {
			continue // this one is not worked off yet
		}
		j.forget(seq)
		j.mu.Lock()
		j.expire(0)
		j.mu.Unlock()
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxJournal {
		t.Errorf("it has %d bytes, %v", info.Size(), err)
	}
	if got := openTestJournal(t, path, "one").at(5); got != (progress{Line: 1, Offset: 0}) {
		t.Errorf("the event that is not worked off is at %v", got)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add("7 1 0")
	f.Add("-1 2 3 ?")
	f.Fuzz(func(t *testing.T, record string) {
		seq, at, ok := parseRecord(record)
		if !ok {
			return
		}
		again, sameAt, ok := parseRecord(string(appendRecord(nil, seq, at))[:len(appendRecord(nil, seq, at))-1])
		if !ok || again != seq || sameAt != at {
			t.Errorf("%q became %d %v", record, again, sameAt)
		}
	})
}
