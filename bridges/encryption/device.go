package encryption

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime/debug"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A device is one of our users', with keys of its own.
type device struct {
	service *Service
	user    matrix.UserID

	using   sync.Mutex // one unit at a time; guards what follows
	id      matrix.DeviceID
	machine *crypto.OlmMachine // nil: not loaded
	store   *store
	counted bool // the homeserver has said, in this process, how many keys it has
	// identified: in this process it was seen to that the user has signed the device, if the homeserver lets us.
	identified bool
}

type deviceRecord struct {
	ID   matrix.DeviceID `json:"id"`
	Made bool            `json:"made"` // the homeserver knows of it
}

// do has one unit of work done. What it changes is durable before any request of the library's
// leaves, and, with what also writes, before do returns; if it fails, all since the last of
// these is forgotten, in memory as well.
func (d *device) do(ctx context.Context, fn func(context.Context, *crypto.OlmMachine) error, also func(*database.Tx) error) error {
	d.using.Lock()
	defer d.using.Unlock()
	err := d.unit(ctx, fn, also)
	if client.Is(err, "M_UNKNOWN_DEVICE") {
		d.counted = false // so that loading it notices
		err = d.unit(ctx, fn, also)
	}
	return err
}

func (d *device) unit(ctx context.Context, fn func(context.Context, *crypto.OlmMachine) error, also func(*database.Tx) error) error {
	if err := d.load(ctx); err != nil {
		return fmt.Errorf("the device of %s: %w", d.user, err)
	}
	d.store.begin()
	err := guarded(func() error { return fn(ctx, d.machine) })
	if err == nil {
		err = d.store.commit(ctx, also)
	}
	if err != nil {
		d.unload()
	}
	return err
}

// guarded turns a panic of the library, which is fed by strangers, into an error.
func guarded(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{fmt.Sprint(p), debug.Stack()}
		}
	}()
	return fn()
}

type panicError struct {
	text  string
	stack []byte
}

func (p *panicError) Error() string { return "panic: " + p.text }

func (d *device) unload() {
	if d.machine != nil {
		d.machine.Destroy()
	}
	d.machine, d.store = nil, nil
}

// load reads what the device knows; the first time, it is made. One that the homeserver has lost
// is made anew, under another name, since nobody may have two sets of keys.
func (d *device) load(ctx context.Context) error {
	if d.machine != nil {
		return nil
	}
	err := d.open(ctx)
	if client.Is(err, "M_UNKNOWN_DEVICE") {
		d.service.log.Warn("the homeserver has lost a device of the bridge; it gets another", "user", d.user, "device", d.id)
		if err = d.service.forget(ctx, d); err == nil {
			err = d.open(ctx)
		}
	}
	if err != nil {
		d.unload()
		return err
	}
	d.service.loaded(d)
	return nil
}

func (d *device) open(ctx context.Context) error {
	s := d.service
	d.store = newStore(s, string(d.user))
	name := d.store.own(kindDevice, "", "")
	var made deviceRecord
	if _, err := d.store.get(ctx, name, &made); err != nil {
		return err
	}
	if made.ID == "" {
		made.ID = matrix.DeviceID(rand.Text()[:10])
		if err := d.store.put(ctx, name, made); err != nil {
			return err
		}
		if err := d.store.commit(ctx, nil); err != nil {
			return err
		}
	}
	d.id = made.ID
	s.own(d.user, d.id)
	user := s.client.As(d.user)
	if !made.Made {
		if err := user.CreateDevice(ctx, made.ID, s.name); err != nil {
			return fmt.Errorf("make it: %w", err)
		}
		made.Made, d.counted, d.identified = true, false, false
		if err := d.store.put(ctx, name, made); err != nil {
			return err
		}
	}
	api := user.Device(d.id, func(ctx context.Context) error { return d.store.commit(ctx, nil) })
	d.machine = newMachine(api, d.store)
	if err := d.machine.Load(ctx); err != nil {
		return fmt.Errorf("read its keys: %w", err)
	}
	if err := d.publish(ctx); err != nil {
		return err
	}
	if err := d.identify(ctx); err != nil {
		return err
	}
	return d.store.commit(ctx, nil)
}

// publish sees to it that the homeserver has the device's keys, and enough of those that are
// used once.
func (d *device) publish(ctx context.Context) error {
	if d.counted {
		return nil
	}
	count := -1 // the homeserver is asked
	if !d.machine.GetAccount().Shared {
		count = 0
	}
	if err := d.machine.ShareKeys(ctx, count); err != nil {
		return fmt.Errorf("publish its keys: %w", err)
	}
	d.counted = true
	return nil
}

func newMachine(api *mautrix.Client, store crypto.Store) *crypto.OlmMachine {
	m := crypto.NewOlmMachine(api, nil, store, rooms{})
	m.DisableSharedGroupSessionTracking, m.DontStoreOutboundKeys = true, true
	m.DisableRatchetTracking, m.DisableDecryptKeyFetching = true, true
	m.DisableDeviceChangeKeyRotation, m.IgnorePostDecryptionParseErrors = true, true
	m.SendKeysMinTrust = id.TrustStateUnset
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	m.SetBackgroundCtx(ended) // nothing happens outside of units
	return m
}

// unwedge begins a new session with a device whose messages we cannot open.
func (d *device) unwedge(ctx context.Context, sender id.UserID, key id.SenderKey) error {
	return d.do(ctx, func(ctx context.Context, machine *crypto.OlmMachine) error {
		if err := d.service.others.refresh(ctx, machine, []id.UserID{sender}); err != nil {
			return err
		}
		other, err := d.store.FindDeviceByKey(ctx, sender, key)
		if err != nil || other == nil {
			return err
		}
		d.store.wedged = key
		return machine.SendEncryptedToDevice(ctx, other, dummyType, dummyContent())
	}, nil)
}
