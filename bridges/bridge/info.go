package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	infoPace    = 50 * time.Millisecond // between two rooms that are told something
	infoAgain   = time.Minute           // before what others have changed is put right
	maxStateKey = 255                   // bytes
	forgetWait  = 10 * time.Second      // for the homeserver, when a link ends
)

// infoTypes are the state events by which a room says what it is bridged to (MSC2346).
var infoTypes = []string{"m.bridge", "uk.half-shot.bridge"}

// A Describer is a [Remote] whose rooms say which channel they are.
type Describer interface {
	// Describe describes a channel; false if its room is to say nothing.
	Describe(key Key, name string) (Info, bool)
}

// Info is what a room says about its channel.
type Info struct {
	StateKey                   string // no other channel's
	Protocol, Network, Channel InfoPart
}

// An InfoPart names a protocol, a network or a channel. All but the ID may be empty.
type InfoPart struct {
	ID     string `json:"id"`
	Name   string `json:"displayname,omitempty"`
	Avatar string `json:"avatar_url,omitempty"`
	URL    string `json:"external_url,omitempty"`
}

// infoContent is the events'.
type infoContent struct {
	Bot      matrix.UserID `json:"bridgebot"`
	Creator  matrix.UserID `json:"creator,omitempty"`
	Protocol InfoPart      `json:"protocol"`
	Network  InfoPart      `json:"network"`
	Channel  InfoPart      `json:"channel"`
}

// A told is what a room says, and which room.
type told struct {
	room     matrix.RoomID
	stateKey string
	content  string
}

var (
	selectInfo = database.SQL(`
		SELECT portal, room_id, state_key, content
		FROM bridge_info
		ORDER BY portal
		LIMIT 1000000`)
	upsertInfo = database.SQL(`
		INSERT INTO bridge_info (portal, room_id, state_key, content)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (portal) DO UPDATE
		SET room_id = excluded.room_id, state_key = excluded.state_key, content = excluded.content`)
	deleteInfo = database.SQL(`
		DELETE FROM bridge_info
		WHERE portal = $1`)
	selectCreators = database.SQL(`
		SELECT portal, user_id
		FROM portal_creators
		ORDER BY portal
		LIMIT 1000000`)
	upsertCreator = database.SQL(`
		INSERT INTO portal_creators (portal, user_id)
		VALUES ($1, $2)
		ON CONFLICT (portal) DO UPDATE
		SET user_id = excluded.user_id`)
	deleteCreator = database.SQL(`
		DELETE FROM portal_creators
		WHERE portal = $1`)
)

func (b *Bridge) loadInfo(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectInfo)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		var t told
		if err := rows.Scan(&portal, &t.room, &t.stateKey, &t.content); err != nil {
			return err
		}
		if p := b.byID[portal]; p != nil {
			p.told = t
		}
	}
	return errors.Join(rows.Err(), b.loadCreators(ctx))
}

func (b *Bridge) loadCreators(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectCreators)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		var user matrix.UserID
		if err := rows.Scan(&portal, &user); err != nil {
			return err
		}
		if p := b.byID[portal]; p != nil {
			p.creator = user
		}
	}
	return rows.Err()
}

// SetCreator notes who had the portal made, which its room is to say.
func (p *Portal) SetCreator(user matrix.UserID) {
	p.mu.Lock()
	same := p.creator == user
	p.creator = user
	p.mu.Unlock()
	if !same {
		p.bridge.write(upsertCreator, p.id, user)
		p.describe()
	}
}

// wantTold is what the portal's room is to say; nothing, if it is empty.
func (p *Portal) wantTold() told {
	describer, ok := p.bridge.remote.(Describer)
	if !ok {
		return told{}
	}
	p.mu.Lock()
	key, name, room, creator := p.key, p.name, p.room, p.creator
	p.mu.Unlock()
	info, ok := describer.Describe(key, name)
	if !ok || room == "" {
		return told{}
	}
	return told{room, boundedStateKey(info.StateKey), string(encode(infoContent{
		Bot: p.bridge.client.Bot().ID, Creator: creator, Protocol: info.Protocol, Network: info.Network, Channel: info.Channel,
	}))}
}

// boundedStateKey replaces the end of a key that is too long for an event by what follows from it.
func boundedStateKey(key string) string {
	if len(key) <= maxStateKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:maxStateKey-2*len(sum)] + hex.EncodeToString(sum[:])
}

// firstInfo is what a room that is about to be made says from the beginning.
func (p *Portal) firstInfo() []*event.Event {
	describer, ok := p.bridge.remote.(Describer)
	if !ok {
		return nil
	}
	p.mu.Lock()
	key, name, creator := p.key, p.name, p.creator
	p.mu.Unlock()
	info, ok := describer.Describe(key, name)
	if !ok {
		return nil
	}
	var content map[string]any
	_ = json.Unmarshal(encode(infoContent{
		Bot: p.bridge.client.Bot().ID, Creator: creator, Protocol: info.Protocol, Network: info.Network, Channel: info.Channel,
	}), &content)
	stateKey := boundedStateKey(info.StateKey)
	events := make([]*event.Event, len(infoTypes))
	for i, kind := range infoTypes {
		events[i] = &event.Event{
			Type: event.Type{Type: kind, Class: event.StateEventType}, StateKey: &stateKey, Content: event.Content{Raw: content},
		}
	}
	return events
}

// describe has the room say what it is bridged to, soon.
func (p *Portal) describe() {
	b := p.bridge
	b.mu.Lock()
	b.undescribed[p] = true
	b.mu.Unlock()
	select {
	case b.describing <- struct{}{}:
	default:
	}
}

// describeAll works off what describe has asked for, and at first all rooms; of those that say what they
// should, the homeserver hears nothing.
func (b *Bridge) describeAll(ctx context.Context) {
	for _, p := range b.Portals() {
		p.describe()
	}
	for {
		b.mu.Lock()
		waiting := b.undescribed
		b.undescribed = map[*Portal]bool{}
		b.mu.Unlock()
		for p := range waiting {
			if !p.tellInfo(ctx) {
				continue
			}
			select {
			case <-time.After(infoPace):
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-b.describing:
		case <-ctx.Done():
			return
		}
	}
}

// tellInfo makes the room say what it should, and a room that it was before say nothing. It tells
// whether the homeserver had to be asked.
func (p *Portal) tellInfo(ctx context.Context) (asked bool) {
	want := p.wantTold()
	p.mu.Lock()
	had := p.told
	p.mu.Unlock()
	if had == want || p.isRetired() {
		return false
	}
	if had.room != "" && (had.room != want.room || had.stateKey != want.stateKey) {
		if err := p.bridge.setInfo(ctx, had.room, had.stateKey, json.RawMessage("{}")); err != nil && ctx.Err() == nil {
			p.bridge.log.Info("a room goes on saying that it is bridged", "room", had.room, "err", err)
		}
	}
	if want.room != "" {
		if err := p.bridge.setInfo(ctx, want.room, want.stateKey, json.RawMessage(want.content)); err != nil && ctx.Err() == nil {
			p.bridge.log.Info("a room does not say what it is bridged to", "room", want.room, "err", err)
		}
	}
	if ctx.Err() == nil { // what was refused for good would be refused each time
		p.noteTold(want)
	}
	return true
}

func (p *Portal) noteTold(t told) {
	p.mu.Lock()
	p.told = t
	p.mu.Unlock()
	if t == (told{}) {
		p.bridge.write(deleteInfo, p.id)
	} else {
		p.bridge.write(upsertInfo, p.id, t.room, t.stateKey, t.content)
	}
}

// forgetInfo has the room of a portal that is no more say no longer that it is bridged, if the homeserver
// lets the bridge.
func (p *Portal) forgetInfo(ctx context.Context) {
	p.mu.Lock()
	had := p.told
	p.told = told{}
	p.mu.Unlock()
	if had.room == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forgetWait)
	defer cancel()
	if err := p.bridge.setInfo(ctx, had.room, had.stateKey, json.RawMessage("{}")); err != nil {
		p.bridge.log.Info("a room goes on saying that it is bridged", "room", had.room, "err", err)
	}
}

// setInfo sets the state events that say something else.
func (b *Bridge) setInfo(ctx context.Context, room matrix.RoomID, stateKey string, content json.RawMessage) error {
	bot := b.client.Bot()
	for _, kind := range infoTypes {
		err := client.Retry(ctx, b.noteFailing("say what a room is bridged to"), func(ctx context.Context) error {
			now, err := bot.State(ctx, room, kind, stateKey)
			switch {
			case client.Is(err, "M_NOT_FOUND"):
				now = json.RawMessage("{}")
			case err != nil:
				return err
			}
			if sameJSON(now, content) {
				return nil
			}
			return bot.SendState(ctx, room, kind, stateKey, content, time.Now())
		})
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func sameJSON(a, b json.RawMessage) bool {
	var left, right any
	return json.Unmarshal(a, &left) == nil && json.Unmarshal(b, &right) == nil && reflect.DeepEqual(left, right)
}

// noteInfo is called when somebody else has changed what a room says.
func (p *Portal) noteInfo(e *client.Event) {
	p.mu.Lock()
	ours := e.Type.Type == infoTypes[0] || e.Type.Type == infoTypes[1]
	ours = ours && p.told.room == matrix.RoomID(e.RoomID) && p.told.stateKey == e.GetStateKey()
	begin := ours && !p.righting
	p.righting = p.righting || begin
	p.mu.Unlock()
	if !begin {
		return
	}
	time.AfterFunc(infoAgain, func() {
		p.mu.Lock()
		p.righting = false
		p.told.content = "" // nobody knows what it is now
		p.mu.Unlock()
		p.describe()
	})
}
