package wire

import (
	"context"
	"fmt"
	"time"
)

// Send queues a message; it waits while the queue is full. Queued is not
// delivered: see Deliver. MODE, KICK and the like overtake texts that wait.
func (c *Conn) Send(ctx context.Context, m *Message) error {
	line, err := c.encode(m)
	if err != nil {
		return err
	}
	return c.enqueue(ctx, line, m.Command, 1)
}

// enqueue waits for a place in the queue.
func (c *Conn) enqueue(ctx context.Context, line []byte, command string, cost int) error {
	for {
		if err := c.Err(); err != nil {
			return err
		}
		full := c.queue.put(line, command, cost)
		if full == nil {
			return nil
		}
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
		}
	}
}

// tagsLength is how many bytes of a line are tags, which have a limit of their own.
func tagsLength(line []byte) int {
	if len(line) == 0 || line[0] != '@' {
		return 0
	}
	for i, b := range line {
		if b == ' ' {
			return i + 1
		}
	}
	return len(line)
}

// now sends a message past the queue and flood control.
func (c *Conn) now(m *Message) {
	if line, err := m.Append(nil); err == nil {
		c.queue.urgent(line)
	}
}

// lastRead is how long we go on reading after we could not write: until the end, if
// the server has died.
const lastRead = time.Second

// write sends what is queued, and watches whether the server is alive.
func (c *Conn) write() {
	timer := time.NewTimer(c.opts.PingEvery)
	defer timer.Stop()
	var alive liveness
	for {
		out, wait := c.queue.take(time.Now())
		if len(out) > 0 {
			c.net.SetWriteDeadline(time.Now().Add(c.opts.WriteWait))
			// One call for whole lines: who watches the writes sees whole lines.
			if _, err := c.net.Write(out); err != nil {
				err = fmt.Errorf("write to %s: %w", c.opts.Addr, err)
				c.unsent.Store(&err)
				c.net.SetReadDeadline(time.Now().Add(lastRead))
				return
			}
		}
		if wait == 0 {
			continue
		}
		look, dead := c.look(&alive)
		if dead {
			c.fail(ErrPingTimeout)
			return
		}
		if wait < 0 || wait > look {
			wait = look
		}
		alive.due = time.Since(c.started) + wait
		timer.Reset(wait)
		select {
		case <-c.queue.wake:
		case <-timer.C:
		case <-c.done:
			return
		}
	}
}

// lastLook is how long we listen once more to a server that was silent for too long, and how late a look may be:
// who comes later than that was not listening.
const lastLook = time.Second

// liveness is what the writing goroutine knows of the server's silence. Times are since the connection started.
type liveness struct {
	asked time.Duration // when we sent a PING that is not answered; 0: none
	until time.Duration // silent until then, it is dead
	last  bool          // it was silent for PingWait already
	due   time.Duration // when we wanted to look at the latest
}

// look tells when to look again, and whether the server has been silent for too long. Only silence counts that we have
// listened to: while the Handler works, nothing is read, and after a pause of the whole process the answer may be here and not
// yet read.
func (c *Conn) look(alive *liveness) (again time.Duration, dead bool) {
	now := time.Since(c.started)
	heard := time.Duration(c.heard.Load())
	if c.busy.Load() {
		heard = now
	}
	switch {
	case alive.asked > 0 && heard < alive.asked:
		switch left := alive.until - now; {
		case now > alive.due+lastLook: // we were away
			return c.askAlive(alive, now), false
		case left > 0:
			return left, false
		case alive.last:
			return 0, true
		}
		alive.last, alive.until = true, now+lastLook
		return lastLook, false
	case heard+c.opts.PingEvery > now:
		alive.asked = 0
		return heard + c.opts.PingEvery - now, false
	}
	return c.askAlive(alive, now), false
}

// askAlive sends a PING, and tells how long there is for the answer.
func (c *Conn) askAlive(alive *liveness, now time.Duration) time.Duration {
	alive.asked, alive.until, alive.last = now, now+c.opts.PingWait, false
	c.now(NewMessage("PING", c.token()))
	return c.opts.PingWait
}
