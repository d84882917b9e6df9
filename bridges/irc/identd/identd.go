// Package identd answers IRC servers that ask whose a connection is (RFC 1413). It
// knows the connections that it was told of, and no others.
package identd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxQuery  = 64               // bytes of a question
	maxAtOnce = 64               // questions of servers that are being answered
	strangers = 16               // and of others, who may keep silent as long as they can
	patience  = 10 * time.Second // for a question, and for taking the answer
	// A server asks as soon as it has accepted a connection, which may be before
	// the bridge knows that it has one.
	pendingWait = 2 * time.Second
)

// A Server is one. Its methods are safe for concurrent use.
type Server struct {
	log *slog.Logger

	mu      sync.Mutex
	users   map[ends][]entry
	peers   map[netip.Addr]int // servers, and how many connections there are to each
	pending int                // connections that are being made
	changed chan struct{}      // closed and made anew when one has been made
}

// ends is what a question names, and who asks.
type ends struct {
	local, remote uint16
	peer          netip.Addr
}

type entry struct {
	address netip.Addr // our end
	user    string
}

// New makes a server; Serve starts it.
func New(log *slog.Logger) *Server {
	return &Server{log: log, users: map[ends][]entry{}, peers: map[netip.Addr]int{}, changed: make(chan struct{})}
}

// Connecting says that a connection is being made, until done is called: after Add, if it
// was.
func (s *Server) Connecting() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pending--
		s.change()
	})
}

// change is called with mu held.
func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Add says whose a connection is until remove is called.
func (s *Server) Add(local, remote netip.AddrPort, user string) (remove func()) {
	key := ends{local.Port(), remote.Port(), remote.Addr().Unmap()}
	e := entry{local.Addr().Unmap(), user}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[key] = append(s.users[key], e)
	s.peers[key.peer]++
	s.change()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.peers[key.peer]--; s.peers[key.peer] == 0 {
			delete(s.peers, key.peer)
		}
		for i, other := range s.users[key] {
			if other == e {
				s.users[key] = append(s.users[key][:i:i], s.users[key][i+1:]...)
				break
			}
		}
		if len(s.users[key]) == 0 {
			delete(s.users, key)
		}
	})
}

// Serve answers until ctx ends; then it closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	known, others := make(chan struct{}, maxAtOnce), make(chan struct{}, strangers)
	var work sync.WaitGroup
	defer work.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			s.log.Warn("identd does not accept", "err", err)
			select { // out of files, most likely
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		slots := others
		if s.serves(addressOf(conn.RemoteAddr())) {
			slots = known
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		work.Go(func() {
			defer func() { <-slots }()
			s.answer(ctx, conn)
		})
	}
}

// serves tells whether there is a connection to a server.
func (s *Server) serves(peer netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[peer] > 0
}

// answer takes one question of a connection.
func (s *Server) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(patience))
	question, err := bufio.NewReaderSize(io.LimitReader(conn, maxQuery), maxQuery).ReadString('\n')
	if err != nil {
		return
	}
	local, remote, ok := parse(question)
	reply := "0, 0 : ERROR : INVALID-PORT\r\n"
	if ok {
		reply = fmt.Sprintf("%d, %d : ", local, remote)
		if user, known := s.wait(ctx, ends{local, remote, addressOf(conn.RemoteAddr())}, addressOf(conn.LocalAddr())); known {
			reply += "USERID : UNIX : " + user + "\r\n"
		} else {
			reply += "ERROR : NO-USER\r\n"
		}
	}
	_, _ = conn.Write([]byte(reply))
}

func addressOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// wait looks for a connection, and waits for those that are being made.
func (s *Server) wait(ctx context.Context, key ends, asked netip.Addr) (user string, known bool) {
	ctx, cancel := context.WithTimeout(ctx, pendingWait)
	defer cancel()
	for {
		s.mu.Lock()
		user, known = s.find(key, asked)
		pending, changed := s.pending, s.changed
		s.mu.Unlock()
		if known || pending == 0 {
			return user, known
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", false
		}
	}
}

// find is called with mu held. Where users have addresses of their own, several connections
// may have the same ports: then the address that was asked tells them apart. It need not
// be ours otherwise, behind a router that passes questions on.
func (s *Server) find(key ends, asked netip.Addr) (user string, known bool) {
	entries := s.users[key]
	for _, e := range entries {
		if e.address == asked {
			return e.user, true
		}
	}
	if len(entries) == 1 {
		return entries[0].user, true
	}
	return "", false
}

// parse reads "port-on-server , port-on-client" (RFC 1413 § 5).
func parse(question string) (local, remote uint16, ok bool) {
	first, second, ok := strings.Cut(strings.TrimRight(question, "\r\n"), ",")
	if !ok {
		return 0, 0, false
	}
	local, ok1 := port(first)
	remote, ok2 := port(second)
	return local, remote, ok1 && ok2
}

func port(text string) (uint16, bool) {
	text = strings.Trim(text, " \t")
	if text == "" || len(text) > 5 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	number, err := strconv.ParseUint(text, 10, 16)
	return uint16(number), err == nil && number > 0
}
