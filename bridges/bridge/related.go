package bridge

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"trestle/internal/matrix"
)

// recentMessages is how many messages of the network are known by their IDs without
// a look into the table, which may be some milliseconds behind.
const recentMessages = 5000

// A remoteKey is a message's ID on the network.
type remoteKey struct {
	portal int64
	id     string
}

// A Known is the event of a message that the network has named.
type Known struct {
	Event  matrix.EventID
	Sender matrix.UserID
}

// noteRemote remembers the event of a message.
func (p *Portal) noteRemote(remoteID string, known Known) {
	if remoteID != "" {
		p.bridge.recent.Put(remoteKey{p.id, remoteID}, known)
	}
}

// React puts a virtual user's reaction to a message into the queue. If nobody knows the message
// any more when its turn comes, it is dropped.
func (p *Portal) React(sender Ghost, remoteID, key string, at time.Time) {
	if p.Room() == "" || remoteID == "" {
		return
	}
	p.enqueue(entry{
		Kind: kindReaction, Sender: sender.ID, Name: sender.Name, Type: "m.reaction",
		ReplyTo: remoteID, Reason: key, Time: millis(at),
	}, nil)
}

// NoticeOn has the bridge's own user answer an event. It is said once for each event and what,
// however often it is called.
func (p *Portal) NoticeOn(event matrix.EventID, what, text string) {
	p.bot(event, what, "m.room.message", map[string]any{
		"msgtype": "m.notice", "body": text, "m.mentions": struct{}{},
		"m.relates_to": map[string]any{"m.in_reply_to": map[string]any{"event_id": event}},
	})
}

// ReactOn has the bridge react to an event, once.
func (p *Portal) ReactOn(event matrix.EventID, key string) {
	p.bot(event, "reaction", "m.reaction", map[string]any{"m.relates_to": annotation(event, key)})
}

func (p *Portal) bot(event matrix.EventID, what, eventType string, content any) {
	if p.Room() == "" {
		return
	}
	voice := p.voice()
	p.enqueue(entry{
		Kind: kindMessage, Sender: voice.ID, Name: voice.Name, Type: eventType, Content: encode(content), Time: millis(time.Now()),
		Once: what + "." + string(event),
	}, nil)
}

func annotation(event matrix.EventID, key string) map[string]any {
	return map[string]any{"rel_type": "m.annotation", "event_id": event, "key": key}
}

// relate turns the network's ID that an entry refers to into the event's. It reports false
// if the entry means nothing without.
func (p *Portal) relate(ctx context.Context, e *entry) (ok bool) {
	if e.ReplyTo == "" || e.Kind == kindUnreact {
		return true
	}
	known, found, err := p.Known(ctx, e.ReplyTo)
	if err != nil && ctx.Err() == nil {
		p.bridge.log.Warn("what a message refers to was not found", "room", p.Room(), "err", err)
	}
	if e.Kind == kindReaction {
		e.Content = encode(map[string]any{"m.relates_to": annotation(known.Event, e.Reason)})
		return found
	}
	if found {
		_, ghost := p.bridge.remote.Ghost(known.Sender)
		e.Content = replyTo(e.Content, known, !ghost)
	}
	return true
}

// replyTo makes a message a reply; mention has it say that the other is meant.
func replyTo(content json.RawMessage, to Known, mention bool) json.RawMessage {
	var fields map[string]json.RawMessage
	var mentions struct {
		UserIDs []matrix.UserID `json:"user_ids,omitempty"`
	}
	if json.Unmarshal(content, &fields) != nil {
		return content
	}
	fields["m.relates_to"] = encode(map[string]any{"m.in_reply_to": map[string]any{"event_id": to.Event}})
	_ = json.Unmarshal(fields["m.mentions"], &mentions)
	if mention && !slices.Contains(mentions.UserIDs, to.Sender) {
		mentions.UserIDs = append(mentions.UserIDs, to.Sender)
		fields["m.mentions"] = encode(mentions)
	}
	return encode(fields)
}
