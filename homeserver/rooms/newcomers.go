package rooms

import (
	"errors"
	"sync"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// newcomers is when people came into a room, so that a service whose network's people may
// not be heard by everybody can make sure that it knows who listens: it hears of a join
// a moment later than it happens.
type newcomers struct {
	loaded int64 // how far the room's stream was when it was loaded; who came before is not known

	mu sync.Mutex
	// arrivals are the joins since, by the application service that made them, empty for
	// people and for other servers.
	arrivals map[string]*arrivals

	// heard is the last answer, which most requests ask for, and where its event is. They
	// belong to the room's lock.
	heard   matrix.EventID
	heardAt int64
}

type arrivals struct {
	queued int   // that are not committed yet
	last   int64 // position of the last one that is
}

// arrives notes that the draft's last event lets somebody in.
func (d *draft) arrives(appservice string) { d.arrived = append(d.arrived, appservice) }

// queued takes over what a draft brings.
func (n *newcomers) queued(arrived []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, appservice := range arrived {
		if n.arrivals == nil {
			n.arrivals = map[string]*arrivals{}
		}
		a := n.arrivals[appservice]
		if a == nil {
			a = new(arrivals)
			n.arrivals[appservice] = a
		}
		a.queued++
	}
}

// came notes that what a draft has brought is committed, up to that position.
func (n *newcomers) came(arrived []string, position int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, appservice := range arrived {
		a := n.arrivals[appservice]
		a.queued, a.last = a.queued-1, position
	}
}

// after reports whether somebody has come after a position by other means than an application service.
func (n *newcomers) after(position int64, appservice string) bool {
	if position < n.loaded {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for by, a := range n.arrivals {
		if by != appservice && (a.queued > 0 || position < a.last) {
			return true
		}
	}
	return false
}

// refuseNewcomers is ORG.TRESTLE.NEWCOMER, 409, if somebody came by other means than the
// service itself after the event that it knows.
func (d *draft) refuseNewcomers(req SendRequest) error {
	if req.Known == "" || req.AppService == "" {
		return nil
	}
	n := &d.room.newcomers
	if n.heard != req.Known {
		known, err := d.s.store.Events.ByID(d.ctx, req.Known)
		if errors.Is(err, database.ErrNoRows) || err == nil && known.RoomNID != d.room.info.NID {
			return newcomer(req.Known)
		}
		if err != nil {
			return err
		}
		n.heard, n.heardAt = req.Known, known.Position
	}
	if n.after(n.heardAt, req.AppService) {
		return newcomer(req.Known)
	}
	return nil
}

// newcomerCode is what a service is told that may not know who is in the room.
const newcomerCode = "ORG.TRESTLE.NEWCOMER"

func newcomer(known matrix.EventID) error {
	return matrix.NewError(409, newcomerCode, "Somebody may have joined after %s.", known)
}
