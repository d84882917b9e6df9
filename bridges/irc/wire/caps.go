package wire

import (
	"slices"
	"strings"
)

// maxOffered bounds the capabilities of a server that does not stop.
const maxOffered = 500

// maxRequest is how many bytes of names one CAP REQ asks for.
const maxRequest = 400

// learnCap follows what the server offers, and what is on.
func (c *Conn) learnCap(m *Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ownCaps()
	for _, token := range strings.Fields(m.Last()) {
		name, value, _ := strings.Cut(token, "=")
		switch strings.ToUpper(m.Param(1)) {
		case "LS", "NEW":
			if len(c.offered) < maxOffered {
				c.offered[name] = value
			}
		case "DEL":
			delete(c.offered, name)
			delete(c.caps, name)
		case "ACK":
			if gone, off := strings.CutPrefix(name, "-"); off {
				delete(c.caps, gone)
			} else if len(c.caps) < maxOffered {
				c.caps[strings.TrimLeft(name, "~=")] = ""
			}
		}
	}
}

// wanted are the capabilities to request: those that are offered, not on, and of
// use.
func (c *Conn) wanted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, name := range slices.Concat(WantedCaps, c.opts.Caps) {
		_, offered := c.offered[name]
		_, on := c.caps[name]
		if offered && !on && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// request asks for capabilities, and tells in how many requests.
func (c *Conn) request(names []string) (requests int) {
	for len(names) > 0 {
		n, length := 0, 0
		for n < len(names) && (n == 0 || length+len(names[n]) < maxRequest) {
			length += len(names[n]) + 1
			n++
		}
		c.now(NewMessage("CAP", "REQ", strings.Join(names[:n], " ")))
		names = names[n:]
		requests++
	}
	return requests
}

// followCaps handles CAP after registration.
func (c *Conn) followCaps(m *Message) {
	c.learnCap(m)
	if strings.ToUpper(m.Param(1)) == "NEW" {
		c.request(c.wanted())
	}
}
