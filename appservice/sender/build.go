package sender

import (
	"encoding/json"
	"slices"
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
	case DeviceChanged:
		t.listed(c.Sender, &t.lists().Changed, &t.lists().Left)
	case DeviceLeft:
		t.listed(c.Sender, &t.lists().Left, &t.lists().Changed)
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

func (t *builder) lists() *appservice.DeviceLists {
	if t.txn.DeviceLists == nil {
		t.txn.DeviceLists = &appservice.DeviceLists{}
	}
	return t.txn.DeviceLists
}

// listed puts a user into one list, once, and out of the other.
func (t *builder) listed(user matrix.UserID, in, out *[]matrix.UserID) {
	*out = slices.DeleteFunc(*out, func(other matrix.UserID) bool { return other == user })
	if !slices.Contains(*in, user) {
		*in = append(*in, user)
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
