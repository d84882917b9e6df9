package wire

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

// nowhere is a connection that takes everything.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }

// fuzzed is a connection in the middle of registering, or behind that.
func fuzzed(registered bool) *Conn {
	opts := Options{Addr: "irc.test:6667", Nick: "alice", SASL: AnyOf(ScramSHA256("al", "secret"), Plain("al", "secret"))}.withDefaults()
	c := &Conn{
		opts: opts, net: nowhere{}, started: time.Now(), done: make(chan struct{}), registered: make(chan error, 1),
		self: Prefix{Nick: opts.Nick}, channels: map[string]bool{}, caps: map[string]string{}, offered: map[string]string{},
	}
	c.support.Store(newSupport())
	c.queue.init(opts.QueueSize, *opts.Flood, c.started)
	if !registered {
		c.registering = newRegistration(c)
	}
	return c
}

// FuzzStream has a connection take lines of anything: what it remembers is bounded, and what it answers are lines
// of its own.
func FuzzStream(f *testing.F) {
	for _, lines := range []string{
		":s CAP * LS * :a=b batch\n:s CAP * LS :sasl=PLAIN,SCRAM-SHA-256 message-tags\n:s CAP * ACK :sasl\n:s CAP * NAK :batch\nAUTHENTICATE +\n:s 903 alice :ok\n:s 001 alice :hi\n:s 376 alice :x",
		":s 433 * alice :taken\n:s 432 * alice :bad\nFAIL NICK X :no\n:s 908 alice PLAIN :m\n:s 904 alice :no\nERROR :Closing link (K-Lined)",
		"BATCH +1 draft/multiline #c\n@batch=1 PRIVMSG #c :a\n@batch=1;draft/multiline-concat PRIVMSG #c :b\nBATCH -1",
		"BATCH +1 chathistory #c\n@batch=1 BATCH +2 draft/multiline #c\n@batch=2;time=2026-01-01T00:00:00Z :bob!b@h PRIVMSG #c :\x01ACTION x\x01\nBATCH -2\nBATCH -1",
		":s 005 alice CASEMAPPING=ascii PREFIX=(ov)@+ CHANMODES=b,k,l,imn :are\n:s 005 alice -CASEMAPPING -PREFIX -NETWORK :are",
		":alice!a@h JOIN #c * :Alice\n:bob!b@h KICK #c alice :x\n:alice NICK al\n:al CHGHOST u h\n:s 396 al u@h :hidden\n:s 302 al :al*=-u@h\nPING x\nPING",
	} {
		f.Add(lines, false)
		f.Add(lines, true)
	}
	f.Fuzz(func(t *testing.T, text string, registered bool) {
		c := fuzzed(registered)
		for line := range strings.SplitSeq(text, "\n") {
			if c.take(strings.TrimRight(line, "\r")); c.Err() != nil {
				break
			}
		}
		c.Split(Privmsg, "#c", "a text of some length")
		if len(c.batches) > maxBatches || len(c.offered) > maxOffered || len(c.caps) > maxOffered || len(c.channels) > maxChannels || len(c.queue.first) > maxUrgent {
			t.Errorf("the connection remembers %d batches, %d capabilities, %d channels", len(c.batches), len(c.offered), len(c.channels))
		}
		for _, batch := range c.batches {
			if batch.depth() > maxBatchDepth || batch.text != nil && batch.text.text.Len() > 2*maxMultilineBytes {
				t.Errorf("a batch is %d deep", batch.depth())
			}
		}
		for _, line := range c.queue.first {
			if whole, ok := bytes.CutSuffix(line, []byte("\r\n")); !ok || bytes.ContainsAny(whole, "\r\n\x00") || len(whole) > defaultLineLen {
				t.Errorf("the answer is %q", line)
			}
		}
	})
}

// FuzzSupport has a server say anything about itself, and then name modes and members by that.
func FuzzSupport(f *testing.F) {
	f.Add("CASEMAPPING=ascii PREFIX=(qaohv)~&@%+ CHANMODES=beI,k,l,imnt STATUSMSG=@+ LINELEN=1024", "-PREFIX TARGMAX=PRIVMSG:4,WHOIS: MAXLIST=be:100", "+ovb-k a b *!*@* key", "@+bob!b@h carol", "@+#x")
	f.Add("PREFIX= CHANTYPES= CHANMODES=", "PREFIX=(ov NICKLEN=99999999999", "+", "@", "")
	f.Add("PREFIX=(ov)@ NETWORK=a\\x20b\\x5c\\xzz", "-CHANMODES -CHANTYPES -STATUSMSG CHANMODES=a,b,c,d,e,f", "-o+o x", "  a  @b ", "#")
	f.Fuzz(func(t *testing.T, first, second, modes, names, target string) {
		s := newSupport()
		for _, tokens := range []string{first, second} {
			s = s.with(NewMessage("005", append(append([]string{"alice"}, strings.Fields(tokens)...), "are supported")...))
		}
		if s.LineLen < defaultLineLen || s.LineLen > maxLineLen || len(s.Raw) > maxTokens {
			t.Errorf("lines of %d bytes, %d tokens", s.LineLen, len(s.Raw))
		}
		letters := strings.Fields(modes)
		if changes := s.ModeChanges(letters); len(letters) > 0 && len(changes) > len(letters[0]) || len(letters) == 0 && len(changes) > 0 {
			t.Errorf("%q are %v", modes, changes)
		}
		_, members := s.Names(NewMessage("353", "alice", "=", "#x", names))
		for _, member := range members {
			if member.Prefix.Nick == "" || len(member.Modes) > len(names) {
				t.Errorf("%q has the member %+v", names, member)
			}
		}
		if channel, ok := s.Channel(target); ok && (!s.IsChannel(channel) || !strings.HasSuffix(target, channel)) {
			t.Errorf("%q is %q", target, channel)
		}
		if s.ValidChannel(target) && strings.ContainsAny(target, " ,\r\n\x00\a") {
			t.Errorf("%q can be joined", target)
		}
		if folded := s.CaseMapping.Fold(target); s.CaseMapping.Fold(folded) != folded || !s.CaseMapping.Equal(target, folded) {
			t.Errorf("%q is folded as %q", target, folded)
		}
	})
}
