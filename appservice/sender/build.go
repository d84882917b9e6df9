package sender

import (
	"encoding/json"
	"strconv"

	"trestle/appservice"
	"trestle/internal/matrix"
	"trestle/registration"
)

// build writes the transaction's body, which is then never written again.
func (q *queue) build(b batch) (appservice.Frozen, error) {
	reg, _ := q.to()
	t := builder{
		frozen:  appservice.Frozen{Service: q.id, Number: b.number, ID: b.epoch + "-" + strconv.FormatInt(b.number, 10), Position: b.position},
		removes: reg.DeviceLists, owner: q.service.opts.Registry.Load().UserOwner,
	}
	for _, changes := range [][]Change{b.changes, b.offered} {
		for i := range changes {
			t.add(&changes[i])
		}
	}
	t.list()
	names := appservice.Spelling{Stable: reg.ReceiveEphemeral, Unstable: reg.PushEphemeral}
	var err error
	t.frozen.Body, err = t.txn.Append(make([]byte, 0, len(t.text)+4096), names)
	return t.frozen, err
}

// A builder gathers what goes into one transaction.
type builder struct {
	frozen appservice.Frozen
	txn    appservice.Transaction
	text   []byte

	// Whose keys have changed, or who has left, in the order in which they came first.
	users  []matrix.UserID
	became map[matrix.UserID]Kind

	// Messages leave their inboxes with the transaction if the service takes all
	// of its users' keys this way, and for its own users only: whoever just
	// watches takes nothing away.
	removes bool
	owner   func(matrix.UserID) *registration.Registration
}

func (t *builder) add(c *Change) {
	switch c.Kind {
	case Event:
		t.txn.Events = append(t.txn.Events, t.write(c.Body))
		t.frozen.Events++
	case Ephemeral:
		t.txn.Ephemeral = append(t.txn.Ephemeral, t.write(c.Body))
	case ToDevice:
		t.txn.ToDevice = append(t.txn.ToDevice, t.write(c.Body))
		if owner := t.owner(c.Target); t.removes && owner != nil && owner.ID == t.frozen.Service {
			t.frozen.Messages = append(t.frozen.Messages, appservice.Message{User: c.Target, Device: c.Device, Position: c.Position})
		}
	case DeviceChanged, DeviceLeft:
		t.listed(c)
	case KeyCounts:
		t.count(c)
	}
	if c.Time > 0 && (t.frozen.Oldest == 0 || c.Time < t.frozen.Oldest) {
		t.frozen.Oldest = c.Time
	}
}

// write renders a change. Growing moves the buffer, and leaves what has been
// written where it was.
func (t *builder) write(body Body) json.RawMessage {
	begin := len(t.text)
	t.text = body.AppendJSON(t.text)
	return t.text[begin:len(t.text):len(t.text)]
}

// listed notes what has become of a user. The last word counts.
func (t *builder) listed(c *Change) {
	if t.became == nil {
		t.became = map[matrix.UserID]Kind{}
	}
	if _, known := t.became[c.Sender]; !known {
		t.users = append(t.users, c.Sender)
	}
	t.became[c.Sender] = c.Kind
}

// list puts each of these users into one list.
func (t *builder) list() {
	if len(t.users) == 0 {
		return
	}
	t.txn.DeviceLists = &appservice.DeviceLists{}
	for _, user := range t.users {
		list := &t.txn.DeviceLists.Changed
		if t.became[user] == DeviceLeft {
			list = &t.txn.DeviceLists.Left
		}
		*list = append(*list, user)
	}
}

func (t *builder) count(c *Change) {
	if t.txn.OneTimeKeyCounts == nil {
		t.txn.OneTimeKeyCounts = map[matrix.UserID]map[matrix.DeviceID]map[string]int{}
		t.txn.FallbackKeyTypes = map[matrix.UserID]map[matrix.DeviceID][]string{}
	}
	counts, fallback := map[matrix.DeviceID]map[string]int{}, map[matrix.DeviceID][]string{}
	for device, keys := range c.Keys {
		counts[device], fallback[device] = keys.OneTime, keys.Fallback
		if keys.Fallback == nil {
			fallback[device] = []string{}
		}
	}
	t.txn.OneTimeKeyCounts[c.Sender], t.txn.FallbackKeyTypes[c.Sender] = counts, fallback
}
