package testkit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An IRCNetwork is a real server with services.
type IRCNetwork struct {
	*IRCServer
	TLSAddr string // 127.0.0.1:port; clients may show certificates
	CAFile  string // to check the server's by

	services *ircProcess
	command  []string
}

// AnopeNetwork starts an InspIRCd with TLS and, linked to it, Anope's NickServ, which offers
// SASL PLAIN and EXTERNAL. Anybody may register (RegisterNick).
func AnopeNetwork(t testing.TB) *IRCNetwork {
	t.Helper()
	program := ircProgram(t, "anope")
	secure, link := FreeAddress(t), FreeAddress(t)
	n := &IRCNetwork{TLSAddr: secure}
	args := []string{"--nofork", "--config"}
	if os.Getuid() == 0 {
		args = append([]string{"--runasroot"}, args...)
	}
	n.IRCServer = startIRC(t, "inspircd", func(port, folder string) string {
		n.CAFile = filepath.Join(folder, "cert.pem")
		writeCertificate(t, n.CAFile, filepath.Join(folder, "key.pem"))
		return inspircdConfig(port, folder, IRCOptions{}) + inspircdServices(portOf(secure), portOf(link), folder)
	}, args...)
	path := filepath.Join(n.folder, "anope.conf")
	if err := os.WriteFile(path, []byte(anopeConfig(portOf(link), n.folder)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.command = append(notRoot(),
		program, "--nofork", "--confdir="+n.folder, "--dbdir="+n.folder, "--logdir="+n.folder,
		"--localedir="+n.folder, "--modulesdir=/usr/lib/anope", "--config=anope.conf",
	)
	n.StartServices()
	t.Cleanup(n.StopServices)
	return n
}

// StartServices starts services (again) and waits until they answer. They remember nothing.
func (n *IRCNetwork) StartServices() {
	n.t.Helper()
	var err error
	if n.services, err = startIRCProcess(n.command, n.folder); err != nil {
		n.t.Fatal(err)
	}
	client := DialIRC(n.t, n.Addr, "waiting")
	defer client.Close()
	for answer := ""; !strings.Contains(answer, "NOTICE"); {
		select {
		case <-n.services.ended:
			n.t.Fatalf("anope ended:\n%s", n.services.output.String())
		case <-time.After(20 * time.Millisecond):
		}
		client.Say("NickServ", "HELP")
		answer = client.ExpectFunc("NickServ, or that there is none", func(line string) bool {
			return strings.Contains(line, " 401 ") || strings.HasPrefix(line, ":NickServ!")
		})
	}
}

// StopServices ends services; the server stays.
func (n *IRCNetwork) StopServices() {
	if n.services != nil {
		n.services.command.Process.Kill()
		<-n.services.ended
	}
}

// RegisterNick registers a client's nick, which is then logged in.
func (n *IRCNetwork) RegisterNick(c *IRCClient, password string) {
	c.t.Helper()
	c.Say("NickServ", "REGISTER "+password+" "+c.Nick+"@example.org")
	c.Expect(" 900 ", c.Nick)
}

// notRoot keeps Anope from waiting for three seconds to warn of root.
func notRoot() []string {
	if _, err := exec.LookPath("setpriv"); err != nil || os.Getuid() != 0 {
		return nil
	}
	return []string{"setpriv", "--regid=65534", "--clear-groups", "--pdeathsig=KILL", "--"}
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func inspircdServices(secure, link, folder string) string {
	return fmt.Sprintf(`
<module name="ssl_gnutls">
<module name="sslinfo">
<module name="spanningtree">
<module name="hidechans">
<module name="sasl">
<sslprofile name="Clients" provider="gnutls" certfile="%[3]s/cert.pem" keyfile="%[3]s/key.pem" hash="sha256" requestclientcert="yes">
<bind address="127.0.0.1" port="%[1]s" type="clients" sslprofile="Clients">
<bind address="127.0.0.1" port="%[2]s" type="servers">
<link name="services.test" ipaddr="127.0.0.1" port="%[2]s" allowmask="127.0.0.0/8" timeout="60s" sendpass="link" recvpass="link">
<uline server="services.test" silent="yes">
<sasl target="services.test">
`, secure, link, folder)
}

func anopeConfig(link, folder string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
uplink { host = "127.0.0.1"; ipv6 = no; ssl = no; port = %s; password = "link" }
serverinfo { name = "services.test"; description = "Services"; pid = "%s/anope.pid"; motd = "%s/motd" }
module { name = "inspircd3" }
networkinfo {
	networkname = "TestNet"; nicklen = 30; userlen = 10; hostlen = 64; chanlen = 64
	vhost_chars = "abcdefghijklmnopqrstuvwxyz0123456789.-"; allow_undotted_vhosts = no
}
options {
	casemap = "rfc1459"; passlen = 50; seed = 31415; updatetimeout = 2m; expiretimeout = 30m
	readtimeout = 1s; warningtimeout = 4h; timeoutcheck = 3s; retrywait = 1s; usermodes = "+i"
}
service { nick = "NickServ"; user = "services"; host = "services.test"; gecos = "NickServ" }
module { name = "nickserv"; client = "NickServ"; forceemail = no; defaults = "ns_secure"; guestnickprefix = "Guest" }
module { name = "enc_sha256" }
module { name = "m_sasl" }
module { name = "help" }
module { name = "ns_register"; registration = "none" }
command { service = "NickServ"; name = "HELP"; command = "generic/help" }
command { service = "NickServ"; name = "REGISTER"; command = "nickserv/register" }
command { service = "NickServ"; name = "GHOST"; command = "nickserv/recover" }
`, link, folder, folder)
	for _, name := range []string{"identify", "cert", "recover"} {
		fmt.Fprintf(&b, "module { name = \"ns_%s\"; max = 5 }\n", name)
		fmt.Fprintf(&b, "command { service = \"NickServ\"; name = %q; command = \"nickserv/%s\" }\n", strings.ToUpper(name), name)
	}
	return b.String()
}

// writeCertificate makes a certificate for 127.0.0.1 that is its own authority.
func writeCertificate(t testing.TB, certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: certificate}, keyFile: {Type: "EC PRIVATE KEY", Bytes: key},
	} {
		var text bytes.Buffer
		if err := pem.Encode(&text, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
