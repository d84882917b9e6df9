package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// tickTime is the unit of processor times in /proc, which is the same everywhere.
	tickTime = 10 * time.Millisecond
	// restPulse is how often it is looked whether a server is at rest, which it is when
	// it uses less than a tenth of a processor, and restPatience how long.
	restPulse    = 200 * time.Millisecond
	restPatience = time.Minute
)

// processor is the processor time that a process has taken, its user's and the system's.
func processor(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const user, system = 11, 12 // proc(5) counts from pid, which is 1
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range []int{user, system} {
		n, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tickTime, nil
}

// An expense is the processor time of the server and of the load generator.
type expense struct{ server, generator time.Duration }

func (b *run) spent() (e expense, err error) {
	if e.server, err = processor(b.server.process.Process.Pid); err != nil {
		return e, err
	}
	e.generator, err = processor(os.Getpid())
	return e, err
}

// since is what was spent from an earlier moment until the server is at rest: what
// its readers do with what has come belongs to it.
func (b *run) since(before expense) (expense, error) {
	now, err := b.spent()
	if err != nil {
		return now, err
	}
	generator := now.generator
	for deadline := time.Now().Add(restPatience); time.Now().Before(deadline) && b.ctx.Err() == nil; {
		time.Sleep(restPulse)
		last := now
		if now, err = b.spent(); err != nil {
			return now, err
		}
		if now.server-last.server < restPulse/10 {
			break
		}
	}
	return expense{now.server - before.server, generator - before.generator}, b.ctx.Err()
}

// each is what one of so many things cost.
func (e expense) each(n int64) string {
	microseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(n, 1)) }
	return fmt.Sprintf("%.0f + %.0f µs", microseconds(e.server), microseconds(e.generator))
}
