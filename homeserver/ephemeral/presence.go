package ephemeral

import (
	"context"
	"sync"
	"time"

	"trestle/internal/matrix"
)

// The states of presence.
const (
	Online      = "online"
	Unavailable = "unavailable"
	Offline     = "offline"
)

const (
	// presenceInterval is how often it is looked for who has gone.
	presenceInterval = 5 * time.Second
	// activeFor is how long somebody who did something counts as currently active.
	activeFor = time.Minute
	// usualIdle is how long after having done something somebody is unavailable.
	usualIdle = 5 * time.Minute
	// gapBetweenPolls is how long a device is still there after a long poll,
	// lingering after it said so itself.
	gapBetweenPolls = 30 * time.Second
	lingering       = 5 * time.Minute
	// forgetAfter is how long the status of somebody who has gone is remembered.
	forgetAfter = 24 * time.Hour
	// maxStatus bounds a status message, in bytes.
	maxStatus = 1024
	// maxPeople bounds who is shown in one answer.
	maxPeople = 2000
)

// people is everybody who was there lately.
type people struct {
	idleAfter time.Duration

	mu      sync.Mutex
	known   map[matrix.UserID]*person
	changed map[matrix.UserID]bool // whose change is to be told
	telling map[matrix.UserID]int  // whose change is being told, how many times
	told    []telling              // by serial
	checked time.Time
}

// A person is one user's presence.
type person struct {
	devices    map[matrix.DeviceID]*presence
	status     string
	lastActive time.Time
	shown      face
	rooms      []int64 // in which others were last told; copied on write
	serial     int64   // of the change that others were last told of
	// meeting is the serial of the newest meeting with people whose presence
	// the user does not know yet.
	meeting int64
	hasMet  bool // somebody since the last serial
}

// A face is what others see, but for times.
type face struct {
	state  string
	active bool
	status string
}

// A presence is one device's.
type presence struct {
	state  string
	polls  int       // long polls that are under way
	until  time.Time // there till then, without one
	stands bool      // till it is changed: a service's word
}

func (d *presence) gone(now time.Time) bool {
	return !d.stands && d.polls == 0 && !d.until.After(now)
}

// look is the person's face now. Devices that have gone are forgotten.
func (p *person) look(now time.Time, idleAfter time.Duration) face {
	f := face{state: Offline, status: p.status}
	for id, d := range p.devices {
		if d.gone(now) {
			delete(p.devices, id)
			continue
		}
		state := d.state
		if state == Online && !d.stands && now.Sub(p.lastActive) >= idleAfter {
			state = Unavailable
		}
		if state == Online || state == Unavailable && f.state == Offline {
			f.state = state
		}
	}
	f.active = f.state == Online && now.Sub(p.lastActive) < activeFor
	return f
}

// change changes a user's person, and reports whether others see that.
func (s *Service) change(user matrix.UserID, now time.Time, fn func(p *person)) (changed bool) {
	locked(&s.people.mu, func() {
		p := s.people.known[user]
		if p == nil {
			p = &person{devices: map[matrix.DeviceID]*presence{}, shown: face{state: Offline}}
			s.people.known[user] = p
		}
		fn(p)
		changed = s.people.show(user, p, now)
	})
	return changed
}

// show updates what others see of a person, and reports whether that changes
// anything. It is called with the lock held.
func (ps *people) show(user matrix.UserID, p *person, now time.Time) bool {
	f := p.look(now, ps.idleAfter)
	if f == p.shown {
		return false
	}
	p.shown = f
	ps.changed[user] = true
	return true
}

// device is a device's presence, made if necessary.
func (p *person) device(id matrix.DeviceID) (d *presence, isNew bool) {
	d = p.devices[id]
	if d == nil {
		d = &presence{state: Offline}
		p.devices[id] = d
		return d, true
	}
	return d, false
}

// SetPresence sets the presence of a user, as a device says. A device that is
// not heard of again has gone after a while; without a device, as when an
// application service speaks for a user, the word stands till the next.
func (s *Service) SetPresence(ctx context.Context, user matrix.UserID, device matrix.DeviceID, state, status string) error {
	if state != Online && state != Unavailable && state != Offline {
		return matrix.InvalidParam("presence is %s, %s or %s.", Online, Unavailable, Offline)
	}
	if len(status) > maxStatus {
		return matrix.InvalidParam("A status message has at most %d bytes.", maxStatus)
	}
	if s.options.NoPresence {
		return nil
	}
	now := s.options.Now()
	changed := s.change(user, now, func(p *person) {
		p.status = status
		if device == "" && state == Offline {
			delete(p.devices, device)
			return
		}
		d, _ := p.device(device)
		d.state, d.stands = state, device == ""
		d.until = now.Add(lingering)
		if state == Online {
			p.lastActive = now
		}
	})
	if changed {
		s.publish(ctx)
	}
	return nil
}

// Seen tells that a device of a user waits for news, as /sync does: until done
// is called, it is there. The state is set_presence of /sync: empty is online,
// and with offline the device does not count.
func (s *Service) Seen(ctx context.Context, user matrix.UserID, device matrix.DeviceID, state string) (done func()) {
	if state == "" {
		state = Online
	}
	if state == Offline || s.options.NoPresence {
		return func() {}
	}
	now := s.options.Now()
	changed := s.change(user, now, func(p *person) {
		d, isNew := p.device(device)
		if state == Online && (isNew || d.state != Online || d.gone(now)) {
			p.lastActive = now
		}
		d.state, d.stands = state, false
		d.polls++
	})
	if changed {
		s.publish(ctx)
	}
	return func() { s.unseen(user, device) }
}

func (s *Service) unseen(user matrix.UserID, device matrix.DeviceID) {
	now := s.options.Now()
	changed := s.change(user, now, func(p *person) {
		if d := p.devices[device]; d != nil {
			d.polls = max(0, d.polls-1)
			d.until = later(d.until, now.Add(gapBetweenPolls))
		}
	})
	if changed {
		s.poke()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Active tells that a user has done something: if any of its devices is there,
// it is online. It is quick.
func (s *Service) Active(user matrix.UserID) {
	now := s.options.Now()
	changed := false
	locked(&s.people.mu, func() {
		p := s.people.known[user]
		if p == nil || len(p.devices) == 0 {
			return
		}
		p.lastActive = now
		for _, d := range p.devices {
			if d.state == Unavailable && !d.gone(now) {
				d.state = Online
			}
		}
		changed = s.people.show(user, p, now)
	})
	if changed {
		s.poke()
	}
}

// met tells that a user has met people.
func (s *Service) met(user matrix.UserID) {
	known := false
	locked(&s.people.mu, func() {
		p := s.people.known[user]
		if known = p != nil && p.shown.state != Offline; known {
			p.hasMet = true
			s.people.changed[user] = true
		}
	})
	if known {
		s.poke()
	}
}

// checkPeople looks for who has gone or become idle.
func (s *Service) checkPeople(now time.Time) {
	locked(&s.people.mu, func() {
		if now.Sub(s.people.checked) < presenceInterval {
			return
		}
		s.people.checked = now
		for user, p := range s.people.known {
			s.people.show(user, p, now)
			if p.shown.state == Offline && !s.people.changed[user] && len(p.devices) == 0 && now.Sub(p.lastActive) > forgetAfter {
				delete(s.people.known, user)
			}
		}
	})
}
