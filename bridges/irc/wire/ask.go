package wire

// Watch shows everything that arrives, on the reading goroutine and before the Handler gets it,
// until stop is called; show may be running still when that returns.
func (c *Conn) Watch(show func(*Message)) (stop func()) {
	stop, _ = c.watch(func(m *Message) bool {
		show(m)
		return false
	})
	return stop
}
