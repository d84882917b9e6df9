package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ircServer is an InspIRCd that treats its clients as a public network does.
type ircServer struct {
	address string // for clients
	links   string // for servers
	process *exec.Cmd
}

// errNoIRC means that there is no InspIRCd on this machine.
var errNoIRC = errors.New("inspircd is not installed")

// findIRC finds the program, which distributions keep where only root looks.
func findIRC() (string, error) {
	for _, name := range []string{"inspircd", "/usr/sbin/inspircd", "/usr/local/sbin/inspircd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoIRC
}

func startIRC(ctx context.Context, folder string) (*ircServer, error) {
	program, err := findIRC()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	s := new(ircServer)
	for _, address := range []*string{&s.address, &s.links} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(folder, "inspircd.conf")
	if err := os.WriteFile(path, []byte(s.config(folder)), 0o600); err != nil {
		return nil, err
	}
	args := []string{"--nofork", "--config", path}
	if os.Getuid() == 0 {
		args = append([]string{"--runasroot"}, args...)
	}
	s.process = exec.CommandContext(ctx, program, args...)
	s.process.Dir = folder
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", s.links); err == nil {
			return s, conn.Close()
		}
	}
	s.kill()
	return nil, fmt.Errorf("%s does not listen", program)
}

func (s *ircServer) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// config lets each client say five lines a second, and have no more than ten waiting: who is faster is
// disconnected.
func (s *ircServer) config(folder string) string {
	_, clients, _ := net.SplitHostPort(s.address)
	_, servers, _ := net.SplitHostPort(s.links)
	text := fmt.Sprintf(`
<module name="cap">
<module name="ircv3">
<module name="ircv3_batch">
<module name="ircv3_ctctags">
<module name="ircv3_echomessage">
<module name="ircv3_labeledresponse">
<module name="ircv3_msgid">
<module name="ircv3_servertime">
<module name="namesx">
<module name="uhnames">
<module name="spanningtree">
<server name="irc.bench" description="A server to be measured with" network="Bench" id="1BE">
<admin name="Bench" nick="bench" email="bench@irc.bench">
<bind address="127.0.0.1" port="%s" type="clients">
<bind address="127.0.0.1" port="%s" type="servers">
<connect name="main" allow="*" maxchans="100" timeout="60" pingfreq="120" hardsendq="10M" softsendq="1M" recvq="4K"
  localmax="100000" globalmax="100000" maxconnwarn="no" resolvehostnames="no" useident="no" limit="100000"
  fakelag="yes" commandrate="5000" threshold="10">
<options casemapping="rfc1459" defaultmodes="not" announcets="no">
<performance netbuffersize="10240" somaxconn="4096" softlimit="100000">
<security maxtargets="20">
<limits maxnick="30" maxchan="64" maxident="10" maxhost="64">
<path configdir="%[3]s" datadir="%[3]s" logdir="%[3]s" runtimedir="%[3]s">
<log method="file" type="*" level="default" target="inspircd.log">
<pid file="%[3]s/inspircd.pid">
`, clients, servers, folder)
	for _, name := range []string{"near.bench", "far.bench"} {
		text += fmt.Sprintf("<link name=%q ipaddr=\"127.0.0.1\" port=\"1\" allowmask=\"127.0.0.0/8\" timeout=\"30s\" sendpass=\"link\" recvpass=\"link\">\n", name)
	}
	return text
}
