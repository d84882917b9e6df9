package bridge

import (
	"context"
	"errors"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// maxTogether is how many bytes of content go into one request: what is large takes its time by itself.
const maxTogether = 1 << 20

// sendSome sends the first of some entries, and those behind it that can go in the same
// request. It reports how many, at least one.
func (p *Portal) sendSome(ctx context.Context, entries []entry) (int, error) {
	if there, err := p.arrived(ctx, entries[0]); there || err != nil {
		return 1, err
	}
	if n := p.together(ctx, entries); n > 1 {
		if sent, err := p.sendTogether(ctx, entries[:n]); sent > 0 || err != nil {
			return sent, err
		}
	}
	return 1, p.sendOne(ctx, entries[0])
}

// together is how many of the entries can be sent in one request: messages of those who are in the room
// and have their profiles, to a room that is not encrypted, on a homeserver that keeps them in order.
func (p *Portal) together(ctx context.Context, entries []entry) int {
	b, size := p.bridge, 0
	for i, e := range entries {
		switch size += len(e.Content); {
		case i == client.MaxSteps, size > maxTogether:
			return i
		case e.Kind != kindMessage:
			return i
		case i > 0 && e.ReplyTo != "": // perhaps to one of those before it
			return i
		case e.Sender != "" && !p.members.ready(Ghost{e.Sender, e.Name}):
			return i
		case i == 1 && (!b.client.Orders(ctx) || p.sealed(ctx, p.Room())):
			return i
		}
	}
	return len(entries)
}

// sealed tells whether a room is encrypted, or may be.
func (p *Portal) sealed(ctx context.Context, room matrix.RoomID) bool {
	s, err := p.bridge.sealingOf(ctx, room, p.bridge.reader(p))
	return err != nil || s.content != nil
}

// ready tells whether a virtual user can speak without further ado.
func (m *members) ready(g Ghost) bool {
	m.mu.Lock()
	joined := m.joined[g.ID]
	m.mu.Unlock()
	b := m.portal.bridge
	b.mu.Lock()
	defer b.mu.Unlock()
	name, exists := b.ghostNames[g.ID]
	return joined && exists && name == g.Name
}

// errAlone is why entries have to go one by one.
var errAlone = errors.New("the room is another one than before")

// sendTogether sends messages in one request when the first of them may be sent. It reports how many are done.
// The first that is refused is not, nor are those behind it, which are not tried: what is to be done
// about it, sendOne knows.
func (p *Portal) sendTogether(ctx context.Context, entries []entry) (int, error) {
	leave, err := p.pass(ctx, entries[0])
	if err != nil {
		return 0, ctx.Err()
	}
	b := p.bridge
	request := client.Ordered{Room: p.Room(), Known: leave.known, Stop: true, Steps: make([]client.Step, len(entries))}
	for i, e := range entries {
		p.relate(ctx, &e)
		request.Steps[i] = client.Step{
			Sender: e.Sender, Type: e.Type, Content: e.Content, TransactionID: b.transaction(e), Time: e.Time,
		}
	}
	var results []client.StepResult
	err = client.Retry(ctx, b.noteFailing("send messages"), func(ctx context.Context) (err error) {
		if p.isRetired() || p.sealed(ctx, request.Room) { // by now
			return errAlone
		}
		results, err = b.client.SendOrdered(ctx, request)
		return err
	})
	if err != nil {
		return 0, ctx.Err()
	}
	var sent []delivered
	for i, result := range results {
		if result.Err != nil {
			break
		}
		sent = append(sent, delivered{entries[i], result.Event})
	}
	if len(sent) > 0 {
		b.metrics.toMatrix.Add(float64(len(sent)))
		p.record(sent)
	}
	return len(sent), nil
}
