package testkit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Ngircd starts an ngIRCd: the legacy case, 512-byte lines and hardly any
// capabilities. Operators: OPER root root.
func Ngircd(t testing.TB, opts IRCOptions) *IRCServer {
	t.Helper()
	return startIRC(t, "ngircd", func(port, _ string) string { return ngircdConfig(port, opts) }, "-n", "-f")
}

// Inspircd starts an InspIRCd with its IRCv3 modules. Operators: OPER root root.
func Inspircd(t testing.TB, opts IRCOptions) *IRCServer {
	t.Helper()
	args := []string{"--nofork", "--config"}
	if os.Getuid() == 0 {
		args = append([]string{"--runasroot"}, args...)
	}
	return startIRC(t, "inspircd", func(port, folder string) string {
		return inspircdConfig(port, folder, opts)
	}, args...)
}

func (o IRCOptions) pingEvery() int {
	if o.PingEvery > 0 {
		return o.PingEvery
	}
	return 3600
}

func ngircdConfig(port string, opts IRCOptions) string {
	penalty := "MaxPenaltyTime = 0"
	if opts.Throttled {
		penalty = ""
	}
	return fmt.Sprintf(`[Global]
Name = irc.test
Info = A server for tests
Network = TestNet
Listen = 127.0.0.1
Ports = %s
Password = %s
ServerUID = %d
ServerGID = %d
MotdPhrase = "Hello."
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 30
PingTimeout = %d
PongTimeout = %d
%s
[Options]
DNS = no
Ident = no
PAM = no
[Operator]
Name = root
Password = root
`, port, opts.Password, os.Getuid(), os.Getgid(), opts.pingEvery(), min(opts.pingEvery(), 20), penalty)
}

// inspircdModules are what a public network would load of IRCv3, and what
// moderation tests need.
var inspircdModules = strings.Fields(`
	services_account banexception botmode cap cloaking commonchans deaf inviteexception
	ircv3 ircv3_accounttag ircv3_batch ircv3_capnotify ircv3_chghost ircv3_ctctags ircv3_echomessage
	ircv3_invitenotify ircv3_labeledresponse ircv3_msgid ircv3_servertime chghost chgident
	banredirect channelban knock monitor muteban namesx operprefix redirect rmode sajoin sanick sapart
	sethost setname timedbans uhnames`)

func inspircdConfig(port string, folder string, opts IRCOptions) string {
	var b strings.Builder
	for _, module := range inspircdModules {
		fmt.Fprintf(&b, "<module name=%q>\n", module)
	}
	flood := `fakelag="no" commandrate="1000000" threshold="1000000" recvq="1M"`
	switch {
	case opts.Throttled: // five lines a second, and no more than ten waiting
		flood = `fakelag="yes" commandrate="5000" threshold="10" recvq="4K"`
	case opts.Strict:
		flood = `fakelag="no" commandrate="50000" threshold="30" recvq="1M"`
	}
	password := ""
	if opts.Password != "" {
		password = fmt.Sprintf("password=%q", opts.Password)
	}
	fmt.Fprintf(&b, `
<server name="irc.test" description="A server for tests" network="TestNet">
<admin name="Test" nick="test" email="test@irc.test">
<bind address="127.0.0.1" port="%s" type="clients">
<connect name="main" allow="*" maxchans="1000" timeout="60" pingfreq="%d"
  hardsendq="10M" softsendq="1M" localmax="100000" globalmax="100000"
  maxconnwarn="no" resolvehostnames="no" useident="no" limit="100000" %s %s>
<class name="All" commands="*" privs="*" usermodes="*" chanmodes="*" snomasks="*">
<type name="NetAdmin" classes="All">
<oper name="root" password="root" host="*@*" type="NetAdmin">
<options casemapping="rfc1459" defaultmodes="not" announcets="no" cyclehostsfromuser="no" invitebypassmodes="yes">
<performance netbuffersize="10240" somaxconn="4096" softlimit="100000">
<security maxtargets="20" announceinvites="dynamic" hidebans="no">
<limits maxnick="30" maxchan="64" maxmodes="20" maxident="10" maxhost="64" maxtopic="307" maxkick="255" maxaway="200" maxquit="255" maxreal="128">
<cloak mode="full" key="0123456789abcdef0123456789abcdef" prefix="test-">
<path configdir="%s" datadir="%s" logdir="%s" runtimedir="%s">
<log method="file" type="*" level="default" target="inspircd.log">
<pid file="%s/inspircd.pid">
`, port, opts.pingEvery(), flood, password, folder, folder, folder, folder, folder)
	return b.String()
}
