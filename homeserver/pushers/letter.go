package pushers

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"trestle/homeserver/mail"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// letterValues are what the mail is filled in with. All that people have
// written or called themselves is in single lines, cut to a length.
type letterValues struct {
	Server      matrix.ServerName
	Name        string
	Rooms       []letterRoom
	Others      int // rooms that are not shown
	Unsubscribe string
}

type letterRoom struct {
	Name     string
	Earlier  int // notifications that are not shown
	Messages []letterMessage
}

type letterMessage struct {
	Sender string
	Time   string    // in English
	At     time.Time // in UTC
	Kind   string    // message, image, video, audio, file, encrypted, sticker, call, invite or other
	Text   string    // what it says, or in English what it is
	Body   string    // what it says, if anything
}

const (
	maxName  = 80  // characters
	maxWords = 300 // characters
)

var letterTemplate = mail.MustTemplate(
	`{{with index .Rooms 0}}Unread in {{.Name}}{{end}}{{with len .Rooms}}{{if gt . 1}} and elsewhere{{end}}{{end}}`,
	`Hello {{.Name}}, this waits for you at {{.Server}}:
{{range .Rooms}}
{{.Name}}
{{with .Earlier}}  … and before that, {{.}} more
{{end}}{{range .Messages}}  {{.Time}}  {{.Sender}}: {{.Text}}
{{end}}{{end}}{{with .Others}}
There is something unread in {{.}} more rooms.
{{end}}
If you do not want these mails any more:
{{.Unsubscribe}}
`,
	`<!DOCTYPE html>
<p>Hello {{.Name}}, this waits for you at <b>{{.Server}}</b>:</p>
{{range .Rooms}}<h3>{{.Name}}</h3>
{{with .Earlier}}<p>… and before that, {{.}} more</p>
{{end}}<table>
{{range .Messages}}<tr><td>{{.Time}}</td><td><b>{{.Sender}}</b></td><td>{{.Text}}</td></tr>
{{end}}</table>
{{end}}{{with .Others}}<p>There is something unread in {{.}} more rooms.</p>
{{end}}<p><a href="{{.Unsubscribe}}">I do not want these mails any more</a></p>
`)

// MailKinds is the mail about notifications, by its name.
func MailKinds() map[string]mail.Kind {
	message := letterMessage{Sender: "Bob", Time: "1 Jan 00:00 UTC", At: time.Unix(0, 0).UTC(), Kind: "message", Text: "Hello", Body: "Hello"}
	return map[string]mail.Kind{"unread": {Template: letterTemplate, Sample: letterValues{
		Server: "example.org", Name: "Alice", Rooms: []letterRoom{{Name: "Room", Earlier: 1, Messages: []letterMessage{message}}}, Others: 1,
		Unsubscribe: "https://matrix.example.org" + UnsubscribePath,
	}}}
}

// letter is the mail about a digest; nil if there is nothing to tell any more.
func (s *Service) letter(ctx context.Context, d *digest) (*mail.Message, error) {
	p := d.pusher
	name, _, err := s.options.Accounts.Profile(ctx, p.User)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = p.User.Localpart()
	}
	values := letterValues{Server: s.options.ServerName, Name: oneLine(name, maxName), Unsubscribe: s.unsubscribeLink(p)}
	for _, r := range d.rooms {
		if len(values.Rooms) == maxRooms {
			values.Others++
			continue
		}
		room, err := s.letterRoom(ctx, p.User, r)
		if err != nil {
			return nil, err
		}
		if room != nil {
			values.Rooms = append(values.Rooms, *room)
		}
	}
	if len(values.Rooms) == 0 {
		return nil, nil
	}
	m, err := s.options.Letter.Message(p.Key, values)
	m.Unsubscribe = values.Unsubscribe
	return &m, err
}

func (s *Service) letterRoom(ctx context.Context, reader matrix.UserID, r *unreadRoom) (*letterRoom, error) {
	room := &letterRoom{Earlier: r.count - len(r.newest)}
	for _, n := range r.newest {
		about, err := s.subject(ctx, reader, n)
		if err != nil {
			return nil, err
		}
		if about == nil {
			continue
		}
		if room.Name == "" {
			if room.Name, err = s.roomName(ctx, about.room, reader); err != nil {
				return nil, err
			}
		}
		sender, err := about.senderName(ctx)
		if err != nil {
			return nil, err
		}
		if sender = oneLine(sender, maxName); sender == "" {
			sender = string(about.event.Sender)
		}
		at, kind, body := time.UnixMilli(n.TS).UTC(), kindOf(about.event, reader), textOf(about.event.Content, "body")
		room.Messages = append(room.Messages, letterMessage{
			Sender: sender, Time: at.Format("2 Jan 15:04 MST"), At: at, Kind: kind,
			Text: oneLine(words(about.event.Type, kind, body), maxWords), Body: oneLine(body, maxWords),
		})
	}
	if len(room.Messages) == 0 {
		return nil, nil
	}
	return room, nil
}

// roomName is what a room is called for a user (Client-Server API § Calculating
// the display name for a room).
func (s *Service) roomName(ctx context.Context, room *rooms.Snapshot, reader matrix.UserID) (string, error) {
	for _, name := range []string{room.Summary.Name, room.Summary.CanonicalAlias} {
		if name = oneLine(name, maxName); name != "" {
			return name, nil
		}
	}
	const heroes = 3
	users, err := s.options.Store.Members.Heroes(ctx, room.Info().NID, reader, heroes)
	if err != nil {
		return "", err
	}
	var names []string
	for _, user := range users {
		name, err := memberName(ctx, room, user)
		if err != nil {
			return "", err
		}
		if name = oneLine(name, maxName); name == "" {
			name = string(user)
		}
		names = append(names, name)
	}
	others := room.Summary.JoinedMembers + room.Summary.InvitedMembers - 1 - int64(len(users))
	switch {
	case len(names) == 0:
		return "an empty room", nil
	case others > 0:
		return fmt.Sprintf("%s and %d others", strings.Join(names, ", "), others), nil
	}
	return strings.Join(names, ", "), nil
}

// kindOf is what an event is, in a word.
func kindOf(e *storage.Event, reader matrix.UserID) string {
	switch e.Type {
	case "m.room.message":
		switch kind := textOf(e.Content, "msgtype"); kind {
		case "m.image", "m.video", "m.audio", "m.file":
			return strings.TrimPrefix(kind, "m.")
		}
		return "message"
	case "m.room.encrypted":
		return "encrypted"
	case "m.sticker":
		return "sticker"
	case "m.call.invite":
		return "call"
	case "m.room.member":
		if e.Membership() == "invite" && e.StateKeyIs(string(reader)) {
			return "invite"
		}
	}
	return "other"
}

// words is an event as a mail tells it.
func words(eventType, kind, body string) string {
	switch kind {
	case "image", "video", "audio", "file", "sticker":
		return fmt.Sprintf("[%s] %s", kind, body)
	case "encrypted":
		return "[encrypted message]"
	case "call":
		return "[call]"
	case "invite":
		return "[has invited you]"
	}
	if body == "" {
		return "[" + eventType + "]"
	}
	return body
}

// oneLine makes a text of others fit for a line of a mail: without anything
// that ends lines or turns their direction, and not too long.
func oneLine(text string, most int) string {
	text = strings.Map(func(c rune) rune {
		switch {
		case c == unicode.ReplacementChar, unicode.Is(unicode.Cf, c) && c != '\u200d': // which joins emoji
			return -1
		case unicode.IsSpace(c), unicode.IsControl(c):
			return ' '
		}
		return c
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most-1]) + "…"
	}
	return text
}
