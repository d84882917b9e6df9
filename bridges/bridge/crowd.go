package bridge

import (
	"context"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// crowd is how many memberships are changed in one request. The room takes nothing else meanwhile.
const crowd = 50

// atOnce is how many changes go together.
func (m *members) atOnce(ctx context.Context) int {
	m.mu.Lock()
	waiting := len(m.order)
	m.mu.Unlock()
	if waiting > 1 && m.portal.bridge.client.Orders(ctx) {
		return crowd
	}
	return 1
}

// reachTogether makes changes in one request. What is refused there is tried once more by itself, where
// it is known what can be done about it.
func (m *members) reachTogether(ctx context.Context, room matrix.RoomID, some []want) {
	b := m.portal.bridge
	request := client.Ordered{Room: room, Steps: make([]client.Step, len(some))}
	for i, w := range some {
		request.Steps[i] = b.membershipStep(w)
	}
	results, err := make([]client.StepResult, len(some)), error(nil)
	err = client.Retry(ctx, b.noteFailing("change memberships"), func(ctx context.Context) (err error) {
		if m.portal.Room() != room {
			return errAlone
		}
		results, err = b.client.SendOrdered(ctx, request)
		return err
	})
	for i, w := range some {
		if err != nil || results[i].Err != nil {
			m.reach(ctx, room, w)
			continue
		}
		if w.joined {
			b.noteExists(w.ghost, results[i].Registered)
		}
		m.reached(ctx, room, w, nil)
	}
}

// membershipStep is what a virtual user's own requests would do, which are those of join, and of leaving.
func (b *Bridge) membershipStep(w want) client.Step {
	user := string(w.ghost.ID)
	step := client.Step{Sender: w.ghost.ID, Type: "m.room.member", StateKey: &user}
	if w.joined {
		step.Content = map[string]string{"membership": "join", "displayname": w.ghost.Name}
		step.Register, step.DisplayName = !b.exists(w.ghost.ID), w.ghost.Name
		return step
	}
	content := map[string]string{"membership": "leave"}
	if w.reason != "" {
		content["reason"] = w.reason
	}
	step.Content = content
	return step
}

func (b *Bridge) exists(user matrix.UserID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, exists := b.ghostNames[user]
	return exists
}

// noteExists notes that a virtual user exists, and if it was made just now, that it has its name.
func (b *Bridge) noteExists(g Ghost, made bool) {
	b.mu.Lock()
	_, known := b.ghostNames[g.ID]
	name := ""
	if made {
		name = g.Name
	}
	if !known {
		b.ghostNames[g.ID] = name
	}
	b.mu.Unlock()
	if !known {
		b.client.Registered(g.ID)
		b.write(upsertGhost, g.ID, name)
	}
}
