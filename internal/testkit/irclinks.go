package testkit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// An IRCPair is two real servers that are one network, until they are split.
type IRCPair struct {
	Here, There *IRCServer

	oper *IRCClient // on Here
}

// InspircdPair starts two InspIRCds and links them.
func InspircdPair(t testing.TB) *IRCPair {
	t.Helper()
	links := FreeAddress(t)
	args := []string{"--nofork", "--config"}
	if os.Getuid() == 0 {
		args = append([]string{"--runasroot"}, args...)
	}
	start := func(name, other, bind string) *IRCServer {
		return startIRC(t, "inspircd", func(port, folder string) string {
			return strings.Replace(inspircdConfig(port, folder, IRCOptions{}), `name="irc.test"`, fmt.Sprintf("name=%q", name), 1) +
				fmt.Sprintf("<module name=\"spanningtree\">\n%s<link name=%q ipaddr=\"127.0.0.1\" port=%q allowmask=\"127.0.0.0/8\" timeout=\"60s\" sendpass=\"link\" recvpass=\"link\">\n",
					bind, other, portOf(links))
		}, args...)
	}
	p := &IRCPair{There: start("there.test", "irc.test", fmt.Sprintf("<bind address=\"127.0.0.1\" port=%q type=\"servers\">\n", portOf(links)))}
	p.Here = start("irc.test", "there.test", "")
	p.oper = DialIRC(t, p.Here.Addr, "linker")
	p.oper.Send("OPER root root")
	p.oper.Expect(" 381 ")
	p.oper.Send("MODE linker +s +lL")
	p.Link()
	return p
}

// Link makes one network of the two, and returns when each knows the other's users.
func (p *IRCPair) Link() {
	p.oper.t.Helper()
	p.oper.Send("CONNECT there.test")
	p.oper.ExpectFunc("the end of the other's burst", func(line string) bool {
		return strings.Contains(line, "there.test") && strings.Contains(line, "end of burst") || strings.Contains(line, "Received end of netburst from")
	})
}

// Split breaks the link: on each side, those on the other have quit.
func (p *IRCPair) Split() {
	p.oper.t.Helper()
	p.oper.Send("SQUIT there.test")
	p.oper.Expect("there.test", "split")
}
