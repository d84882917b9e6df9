package rooms

import (
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// newcomers is when people came into a room, so that a service whose network's people may
// not be heard by everybody can make sure that it knows who listens: it hears of a join
// a moment later than it happens. It belongs to the room and its lock.
type newcomers struct {
	// depths are those of the last joins, by the application service that made
	// them, empty for people. It is nil before anything was written since
	// the room was loaded.
	depths map[string]int64
	loaded int64 // how deep the room was then; who came before is not known

	heard      matrix.EventID // the last answer, which most requests ask for
	heardDepth int64
}

// arrives notes that the draft's last event lets somebody in.
func (d *draft) arrives(appservice string) { d.arrived = append(d.arrived, appservice) }

// note takes over what a draft has brought.
func (n *newcomers) note(d *draft) {
	for _, appservice := range d.arrived {
		if n.depths == nil {
			n.depths = map[string]int64{}
		}
		n.depths[appservice] = d.head.depth
	}
}

// refuseNewcomers is ORG.TRESTLE.NEWCOMER, 409, if somebody came by other means than the
// service itself after the event that it knows.
func (d *draft) refuseNewcomers(req SendRequest) error {
	if req.Known == "" || req.AppService == "" {
		return nil
	}
	n := &d.room.newcomers
	newest := n.loaded
	for appservice, depth := range n.depths {
		if appservice != req.AppService {
			newest = max(newest, depth)
		}
	}
	if n.heard != req.Known {
		known, err := d.s.store.Events.ByID(d.ctx, req.Known)
		if errors.Is(err, database.ErrNoRows) || err == nil && known.RoomNID != d.room.info.NID {
			return newcomer(req.Known)
		}
		if err != nil {
			return err
		}
		n.heard, n.heardDepth = req.Known, known.Depth
	}
	if n.heardDepth < newest {
		return newcomer(req.Known)
	}
	return nil
}

// newcomerCode is what a service is told that may not know who is in the room.
const newcomerCode = "ORG.TRESTLE.NEWCOMER"

func newcomer(known matrix.EventID) error {
	return matrix.NewError(409, newcomerCode, "Somebody may have joined after %s.", known)
}
