package bridge

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// A Command is something that people may ask of the bridge: in a management
// room by its name, in a portal's room behind the prefix.
type Command struct {
	Name string
	Args string // "CHANNEL [KEY]", for the help
	Help string // one line
	// Run returns what to answer. An error that is a *matrix.Error is shown
	// as it is; any other is logged.
	Run func(ctx context.Context, call *Call) (answer string, err error)
}

// A Call is one use of a command.
type Call struct {
	Sender matrix.UserID
	Room   matrix.RoomID
	Event  matrix.EventID
	Portal *Portal // nil in a management room
	Args   []string
}

type commands struct {
	prefix string
	byName map[string]Command
}

func newCommands(prefix string, list []Command) *commands {
	c := &commands{prefix: prefix, byName: map[string]Command{}}
	for _, command := range list {
		c.byName[command.Name] = command
	}
	return c
}

// greeting is said in a new management room.
func (c *commands) greeting() string {
	return "Hello! Say “help” to see what I can do."
}

// help lists the commands.
func (c *commands) help() string {
	names := make([]string, 0, len(c.byName))
	for name := range c.byName {
		names = append(names, name)
	}
	sort.Strings(names)
	var text strings.Builder
	fmt.Fprintf(&text, "Commands (in a channel's room, put %s before them):\n", c.prefix)
	for _, name := range names {
		command := c.byName[name]
		fmt.Fprintf(&text, "%s – %s\n", strings.TrimSpace(name+" "+command.Args), command.Help)
	}
	text.WriteString("help – this list")
	return text.String()
}

// parse takes a command apart. Without the prefix only a management room's
// texts are commands.
func (c *commands) parse(body string, management bool) (words []string, ok bool) {
	words = strings.Fields(body)
	if len(words) > 0 && words[0] == c.prefix {
		return words[1:], true
	}
	return words, management && len(words) > 0
}

// command runs an event that is a command; false if it is none.
func (b *Bridge) command(ctx context.Context, p *Portal, e *client.Event) bool {
	room, sender := matrix.RoomID(e.RoomID), matrix.UserID(e.Sender)
	if e.Type != event.EventMessage || e.Content.AsMessage().MsgType != event.MsgText {
		return false
	}
	words, ok := b.commands.parse(e.Content.AsMessage().Body, b.managed(room) == sender)
	if !ok {
		return false
	}
	b.reply(ctx, room, e, b.run(ctx, &Call{Sender: sender, Room: room, Event: matrix.EventID(e.ID), Portal: p}, words))
	return true
}

func (b *Bridge) run(ctx context.Context, call *Call, words []string) string {
	if len(words) == 0 || words[0] == "help" {
		return b.commands.help()
	}
	command, ok := b.commands.byName[strings.ToLower(words[0])]
	if !ok {
		return fmt.Sprintf("I know no command “%.40s”. Say “help” to see what there is.", words[0])
	}
	call.Args = words[1:]
	answer, err := command.Run(ctx, call)
	if err == nil {
		return answer
	}
	if matrix.Code(err) != "" {
		return message(err)
	}
	b.log.Error("a command failed", "command", command.Name, "sender", call.Sender, "err", err)
	return "That did not work. The bridge's log says why."
}

// reply answers an event, once however often the event is worked off.
func (b *Bridge) reply(ctx context.Context, room matrix.RoomID, e *client.Event, text string) {
	err := client.Retry(ctx, b.noteFailing("answer a command"), func(ctx context.Context) error {
		_, err := b.client.Bot().Send(ctx, room, client.Message{
			Type:          "m.room.message",
			Content:       map[string]string{"msgtype": "m.notice", "body": text},
			TransactionID: b.instance + "." + e.ID.String(),
		})
		return err
	})
	if err != nil && ctx.Err() == nil {
		b.log.Warn("a command was not answered", "room", room, "err", err)
	}
}

// message is the sentence of a *matrix.Error.
func message(err error) string {
	var known *matrix.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return err.Error()
}
