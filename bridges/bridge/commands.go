package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// A Command is something that people may ask of the bridge: in a management
// room by its name, in a portal's room behind the prefix.
type Command struct {
	Name   string
	Args   string   // "CHANNEL [KEY]", for the help
	Help   string   // one line
	Also   []string // further names, which the help leaves out
	Secret bool     // who gives it tells a secret: the message is removed from the room, whatever becomes of it
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
	names  []string // sorted
	byName map[string]Command
	limits limits
}

func newCommands(prefix string, list []Command) *commands {
	c := &commands{prefix: prefix, byName: map[string]Command{}, limits: newLimits()}
	help := Command{Name: "help", Args: "[COMMAND]", Help: "lists the commands, or says what one of them does", Run: c.help}
	for _, command := range append(list[:len(list):len(list)], help) {
		for _, name := range append(command.Also, command.Name) {
			c.byName[name] = command
		}
		c.names = append(c.names, command.Name)
	}
	slices.Sort(c.names)
	return c
}

// greeting is said in a new management room.
func (c *commands) greeting() string {
	return "Hello! Say “help” to see what I can do."
}

// introduction is said in a room in which people were before.
func (c *commands) introduction() string {
	return fmt.Sprintf("Hello! What you want of me, begin with %s: “%s help” says what I can do.", c.prefix, c.prefix)
}

// help lists the commands.
func (c *commands) help(_ context.Context, call *Call) (string, error) {
	if len(call.Args) > 0 {
		command, ok := c.byName[strings.ToLower(call.Args[0])]
		if !ok {
			return "", c.unknown(call.Args[0])
		}
		return command.line(), nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Commands (in a channel's room, put %s before them):", c.prefix)
	for _, name := range c.names {
		text.WriteString("\n" + c.byName[name].line())
	}
	return text.String(), nil
}

// line is the command's in the help.
func (c Command) line() string {
	return strings.TrimSpace(c.Name+" "+c.Args) + " – " + c.Help
}

// unknown is what somebody hears who has asked for what there is not.
func (c *commands) unknown(word string) error {
	if name := nearest(strings.ToLower(word), c.names); name != "" {
		return matrix.NotFound("I know no command “%.40s”. Did you mean “%s”?", word, name)
	}
	return matrix.NotFound("I know no command “%.40s”. Say “help” to see what there is.", word)
}

// parse takes a command apart. Without the prefix only a management room's
// texts are commands, and what would tell a secret to all.
func (c *commands) parse(body string, management bool) (words []string, ok bool) {
	words = strings.Fields(body)
	if len(words) == 0 {
		return nil, false
	}
	if strings.EqualFold(words[0], c.prefix) {
		return words[1:], true
	}
	name, marked := strings.CutPrefix(words[0], "!") // as other bridges have it
	if marked && name != "" && (management || c.byName[strings.ToLower(name)].Secret) {
		words[0] = name
		return words, true
	}
	return words, management
}

// commandText is what may be a command: of a correction what it says now, and of a reply what is not quoted. In these, too, there
// can be a secret.
func commandText(content *event.MessageEventContent) string {
	if content.NewContent != nil && content.RelatesTo.GetReplaceID() != "" {
		return content.NewContent.Body
	}
	if content.RelatesTo.GetReplyTo() != "" {
		return event.TrimReplyFallbackText(content.Body)
	}
	return content.Body
}

// command runs an event that is a command; false if it is none. done is called when that was
// answered. Others in a channel's room do not wait for it; a management room is one person's.
func (b *Bridge) command(ctx context.Context, p *Portal, e *client.Event, done func()) bool {
	room, sender := matrix.RoomID(e.RoomID), matrix.UserID(e.Sender)
	if e.Unreadable != "" && p == nil && b.managed(room) == sender {
		b.reply(ctx, room, e, "I cannot read that. "+e.Unreadable)
		return true
	}
	if e.Type != event.EventMessage || e.Content.AsMessage().MsgType != event.MsgText {
		return false
	}
	words, ok := b.commands.parse(commandText(e.Content.AsMessage()), b.managed(room) == sender)
	if !ok {
		return false
	}
	if len(words) == 0 {
		words = []string{"help"}
	}
	allowed := b.commands.limits.take(sender, time.Now())
	answer := func() {
		defer done()
		call := &Call{Sender: sender, Room: room, Event: matrix.EventID(e.ID), Portal: p, Args: words[1:]}
		text := b.conceal(ctx, call, words[0])
		switch allowed {
		case permitted:
			text = b.run(ctx, call, words[0]) + text
		case tooMany:
			text = "That was too much at once. Say it again in a minute." + text
		}
		if text != "" {
			b.reply(ctx, room, e, text)
		}
	}
	if p == nil || !b.goRun(answer) {
		answer()
	}
	return true
}

// conceal takes a message that tells a secret out of the room, also if the command is misspelt.
// The answer is what there is to say about that.
func (b *Bridge) conceal(ctx context.Context, call *Call, word string) (remark string) {
	name := strings.ToLower(word)
	if _, known := b.commands.byName[name]; !known {
		name = nearest(name, b.commands.names)
	}
	if !b.commands.byName[name].Secret || len(call.Args) == 0 {
		return ""
	}
	if err := b.client.Bot().Redact(ctx, call.Room, call.Event, "a secret", "redact."+string(call.Event)); err != nil {
		b.log.Info("a secret was not redacted", "room", call.Room, "err", err)
		return " I may not remove your message from this room: do that yourself."
	}
	return ""
}

func (b *Bridge) run(ctx context.Context, call *Call, word string) string {
	command, ok := b.commands.byName[strings.ToLower(word)]
	if !ok {
		return message(b.commands.unknown(word))
	}
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
	p := b.FindRoom(room)
	err := client.Retry(ctx, b.noteFailing("answer a command"), func(ctx context.Context) error {
		_, err := b.post(ctx, b.reader(p), p, room, client.Message{
			Type:          "m.room.message",
			Content:       map[string]string{"msgtype": "m.notice", "body": strings.TrimSpace(text)},
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
