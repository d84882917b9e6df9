package irc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	maxRaw        = 510 // bytes of a line that somebody makes up
	maxHeardLines = 40  // lines of an answer that are shown
	maxHeardBytes = 400 // of each
)

// rawAllowed are the commands that change nothing which the bridge has to know beforehand: what they do
// to a channel the bot sees, and the rest is the user's own.
var rawAllowed = map[string]bool{
	"ACCEPT": true, "ADMIN": true, "AWAY": true, "CHANSERV": true, "CS": true, "INFO": true, "INVITE": true, "ISON": true,
	"KICK": true, "KNOCK": true, "LINKS": true, "LUSERS": true, "MAP": true, "MODE": true, "MOTD": true, "NAMES": true,
	"RULES": true, "SILENCE": true, "TIME": true, "TOPIC": true, "USERHOST": true, "VERSION": true, "WHO": true,
	"WHOIS": true, "WHOWAS": true,
}

// rawInstead says what there is for some that are not.
var rawInstead = map[string]string{
	"JOIN":    "Say “join #channel”, or join its room.",
	"PART":    "Leave the channel's room.",
	"QUIT":    "Say “quit”.",
	"NICK":    "Say “nick”.",
	"PRIVMSG": "Say it in the channel's room, or in a direct chat with the virtual user.",
	"NOTICE":  "Say it in the channel's room, or in a direct chat with the virtual user.",
}

func (s *Service) commandRaw(ctx context.Context, call *bridge.Call) (string, error) {
	n, args, err := s.commandNetworkOf(call, 1)
	if err != nil {
		return "", err
	}
	m, err := parseRaw(args)
	if err != nil {
		return "", err
	}
	return s.sayRaw(ctx, n, call, m)
}

// parseRaw makes one message of words that may say anything. The first that begins with a colon begins
// the last parameter.
func parseRaw(args []string) (*wire.Message, error) {
	if len(args) == 0 {
		return nil, matrix.MissingParam("Say which command: cmd MODE #channel +b, for instance.")
	}
	command := strings.ToUpper(args[0])
	if !rawAllowed[command] {
		if instead := rawInstead[command]; instead != "" {
			return nil, matrix.Forbidden("%s", instead)
		}
		return nil, matrix.Forbidden("The bridge does not pass on “%.20s”.", command)
	}
	var params []string
	for i, arg := range args[1:] {
		if rest, last := strings.CutPrefix(arg, ":"); last {
			params = append(params, strings.Join(append([]string{rest}, args[i+2:]...), " "))
			break
		}
		params = append(params, arg)
	}
	m := wire.NewMessage(command, params...)
	encoded, err := m.Append(nil)
	if err != nil || len(encoded) > maxRaw+len("\r\n") {
		return nil, matrix.InvalidParam("IRC cannot be told that.")
	}
	return m, nil
}

// sayRaw has a user's puppet say a command, in its place between what the user says, so that an error
// is not taken for one about a message.
func (s *Service) sayRaw(ctx context.Context, n *network, call *bridge.Call, m *wire.Message) (string, error) {
	conn, err := n.connOf(ctx, call.Sender)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	heard := hearing{public: s.private(ctx, call) != nil}
	defer conn.Watch(func(said *wire.Message) {
		if answers(conn, m, said) && !heard.withheld(said) {
			heard.add(said)
		}
	})()
	done := make(chan error, 1)
	u := &utterance{
		channel: n.fold(m.Param(0)), message: m, direct: true, optional: true,
		finish: func(err error) { done <- err },
	}
	n.ask(ctx, func() { n.puppet(call.Sender).speech.add(u) })
	select {
	case err = <-done:
	case <-ctx.Done():
		return "", matrix.NotFound("%s has not answered yet.", n.now().Name)
	}
	text := heard.text()
	switch _, refused := errors.AsType[*wire.SendError](err); {
	case err != nil && !refused:
		return "", matrix.NotFound("IRC was not told: %s", decode(err.Error()))
	case text == "":
		return fmt.Sprintf("%s has nothing to say to that.", n.now().Name), nil
	}
	return text, nil
}

// answers tells whether a message is about a command: an answer of the server, or the command
// itself, as everybody is told of it.
func answers(c *wire.Conn, to, m *wire.Message) bool {
	switch {
	case m.Numeric() > 0, m.Command == "FAIL", m.Command == "WARN", m.Command == "NOTE":
		return true
	case m.Command == "NOTICE":
		return m.Prefix.User == "" && strings.Contains(m.Prefix.Nick, ".")
	}
	return m.Command == to.Command && c.FromSelf(m)
}

// A hearing gathers what a server says to a question.
type hearing struct {
	public bool // people read it who have not asked

	mu    sync.Mutex
	lines []string
	more  int
}

// withheld tells whether an answer is for nobody but who has asked: in which channels somebody is, of which some may be secret, and
// where they really connect from.
func (a *hearing) withheld(m *wire.Message) bool {
	switch m.Command {
	case "319", "338", "378", "379":
		return a.public
	}
	return false
}

func (a *hearing) add(m *wire.Message) {
	words := m.Params
	switch {
	case m.Numeric() > 0 || m.Command == "NOTICE":
		words = words[min(1, len(words)):] // without whom it is for
	default:
		words = append([]string{m.Command}, words...)
	}
	a.line(plain(strings.Join(words, " ")))
}

func (a *hearing) line(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case text == "":
	case len(a.lines) == maxHeardLines:
		a.more++
	default:
		a.lines = append(a.lines, strings.ToValidUTF8(text[:min(len(text), maxHeardBytes)], ""))
	}
}

func (a *hearing) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := strings.Join(a.lines, "\n")
	if a.more > 0 {
		text += fmt.Sprintf("\n… and %d more lines", a.more)
	}
	return text
}
