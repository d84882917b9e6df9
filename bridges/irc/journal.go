package irc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxJournal   = 4 << 20          // size at which a journal is written anew
	keepFinished = 10 * time.Second // see forget
)

// progress is how much of an event's text the IRC server has: all lines before
// Line, and Offset bytes of that. It is in doubt from when the last of these bytes are about to be
// handed to the kernel until the server is known to have them.
type progress struct {
	Line, Offset int
	Doubt        bool
}

// A journal remembers, for each event that is being said on IRC, how much of it has been
// handed to the kernel. It is an ordinary file without fsync: what has been written to it survives this
// process, which is all that it is for, and costs microseconds. After a crash of the machine
// the bridge's database alone decides, and a line may be said again.
type journal struct {
	log      *slog.Logger
	instance string // of the database: sequence numbers mean nothing beside another

	path string

	mu       sync.Mutex
	file     *os.File // nil: there is no journal
	size     int64
	events   map[int64]progress
	finished []finished
}

// finished is an event that has been worked off, and when.
type finished struct {
	seq int64
	at  time.Time
}

// openJournal reads what an earlier process wrote.
func openJournal(path, instance string, log *slog.Logger) (*journal, error) {
	j := &journal{log: log, instance: instance, path: path, events: map[int64]progress{}}
	if path == "" {
		return j, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j.file = file
	if err := errors.Join(j.read(), j.rewrite()); err != nil {
		file.Close()
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	return j, nil
}

// read takes the records up to the first that is not whole.
func (j *journal) read() error {
	reader := bufio.NewReader(j.file)
	header, err := reader.ReadString('\n')
	if err != nil || header != j.instance+"\n" {
		return ignoreEOF(err)
	}
	for {
		record, err := reader.ReadString('\n')
		if err != nil {
			return ignoreEOF(err)
		}
		seq, at, ok := parseRecord(strings.TrimSuffix(record, "\n"))
		if !ok {
			return nil
		}
		j.events[seq] = at
	}
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// parseRecord reads "seq line offset", and " ?" if it is in doubt.
func parseRecord(record string) (seq int64, at progress, ok bool) {
	record, doubt := strings.CutSuffix(record, " ?")
	fields := strings.Split(record, " ")
	if len(fields) != 3 {
		return 0, at, false
	}
	seq, err1 := strconv.ParseInt(fields[0], 10, 64)
	line, err2 := strconv.Atoi(fields[1])
	offset, err3 := strconv.Atoi(fields[2])
	ok = err1 == nil && err2 == nil && err3 == nil && line >= 0 && offset >= 0
	return seq, progress{line, offset, doubt}, ok
}

func appendRecord(dst []byte, seq int64, at progress) []byte {
	dst = append(strconv.AppendInt(dst, seq, 10), ' ')
	dst = append(strconv.AppendInt(dst, int64(at.Line), 10), ' ')
	dst = strconv.AppendInt(dst, int64(at.Offset), 10)
	if at.Doubt {
		dst = append(dst, " ?"...)
	}
	return append(dst, '\n')
}

// rewrite leaves only what is still of use in the file.
func (j *journal) rewrite() error {
	content := []byte(j.instance + "\n")
	for seq, at := range j.events {
		content = appendRecord(content, seq, at)
	}
	// The old file stays until the new one is whole.
	fresh, err := os.OpenFile(j.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := fresh.Write(content); err != nil {
		return errors.Join(err, fresh.Close())
	}
	if err := os.Rename(fresh.Name(), j.path); err != nil {
		return errors.Join(err, fresh.Close())
	}
	err = j.file.Close()
	j.file, j.size = fresh, int64(len(content))
	return err
}

// set notes how far an event has come.
func (j *journal) set(seq int64, at progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events[seq] = at
	if j.file == nil {
		return
	}
	record := appendRecord(nil, seq, at)
	if _, err := j.file.WriteAt(record, j.size); err != nil {
		j.log.Error("the journal was not written; a message may come twice if the bridge is killed now", "err", err)
		return
	}
	j.size += int64(len(record))
}

// at is how far an event has come.
func (j *journal) at(seq int64) progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.events[seq]
}

// forget is called when an event has been worked off. Its record stays until the
// database surely knows that too.
func (j *journal) forget(seq int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finished = append(j.finished, finished{seq, time.Now()})
	j.expire(keepFinished)
	if j.file == nil || j.size < maxJournal {
		return
	}
	if err := j.rewrite(); err != nil {
		j.log.Error("the journal was not written anew", "err", err)
	}
}

// expire drops events that were finished so long ago. It is called with mu held.
func (j *journal) expire(age time.Duration) {
	for len(j.finished) > 0 && time.Since(j.finished[0].at) >= age {
		delete(j.events, j.finished[0].seq)
		j.finished = j.finished[1:]
	}
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}
