package encryption

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/id"

	"trestle/internal/lru"
)

const (
	maxKnown     = 20000           // people whose devices are known at a time
	unknownAgain = 1 * time.Minute // until somebody is asked for whose server did not answer
	fetchAgain   = 3               // how often a list is asked for that changes meanwhile
)

// A directory is which devices people have, as the homeserver says. It is not stored: after a
// restart the homeserver is asked again, so that no change can have been missed.
type directory struct {
	mu      sync.Mutex
	version int64 // of the newest change
	known   *lru.Cache[id.UserID, listing]
}

type listing struct {
	devices map[id.DeviceID]*id.Device // nil: not known
	changed int64                      // the version of the newest change
	again   time.Time                  // not zero: when to ask again
}

func newDirectory() *directory {
	return &directory{known: lru.New[id.UserID, listing](maxKnown, nil)}
}

// changed takes in that people's lists are others now.
func (d *directory) changed(users []id.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version++
	for _, user := range users {
		d.known.Put(user, listing{changed: d.version})
	}
}

// learn takes in a list that was asked for at a version, unless it has changed since.
func (d *directory) learn(user id.UserID, devices map[id.DeviceID]*id.Device, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, _ := d.known.Get(user)
	if before.changed > version {
		return
	}
	if devices == nil {
		devices = map[id.DeviceID]*id.Device{}
	}
	d.known.Put(user, listing{devices: devices, changed: before.changed})
}

// of is a user's devices, nil if they are not known.
func (d *directory) of(user id.UserID) map[id.DeviceID]*id.Device {
	list, _ := d.known.Get(user)
	return list.devices
}

// unknown is who has to be asked for.
func (d *directory) unknown(users []id.UserID) (missing []id.UserID, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, user := range users {
		list, _ := d.known.Get(user)
		if list.devices == nil || !list.again.IsZero() && time.Now().After(list.again) {
			missing = append(missing, user)
		}
	}
	return missing, d.version
}

// refresh learns the devices of people who are not known.
func (d *directory) refresh(ctx context.Context, machine *crypto.OlmMachine, users []id.UserID) error {
	for range fetchAgain {
		missing, version := d.unknown(users)
		if len(missing) == 0 {
			return nil
		}
		asking := purposeOf(ctx)
		asking.version = version
		found, err := machine.FetchKeys(withPurpose(ctx, asking), missing, true)
		if err != nil {
			return fmt.Errorf("ask which devices people have: %w", err)
		}
		d.mu.Lock()
		for _, user := range missing {
			if _, answered := found[user]; !answered {
				before, _ := d.known.Get(user)
				d.known.Put(user, listing{map[id.DeviceID]*id.Device{}, before.changed, time.Now().Add(unknownAgain)})
			}
		}
		d.mu.Unlock()
	}
	return nil // what has changed meanwhile is asked for with the next message
}

// audience names all devices of people, so that one more or less makes another name.
func (d *directory) audience(users []id.UserID) string {
	var lines []string
	for _, user := range users {
		lines = append(lines, fmt.Sprintf("%q", user))
		for _, device := range d.of(user) {
			lines = append(lines, fmt.Sprintf("%q %q %q %q", user, device.DeviceID, device.IdentityKey, device.SigningKey))
		}
	}
	slices.Sort(lines)
	sum := sha256.New()
	for _, line := range lines {
		sum.Write([]byte(line + "\n"))
	}
	return hex.EncodeToString(sum.Sum(nil))
}
