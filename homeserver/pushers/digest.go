package pushers

import (
	"context"
	"errors"
	"time"

	"trestle/homeserver/mail"
	"trestle/homeserver/storage"
	"trestle/internal/database"
)

const (
	// mailAge is how old something may be that a mail tells of.
	mailAge = 7 * 24 * time.Hour
	// quieter is how much longer each pause is between mails about one room,
	// up to longestPause.
	quieter      = 6
	longestPause = 24 * time.Hour
	// maxDigest bounds the notifications that one mail looks at, maxRooms and
	// maxShown what it shows of them.
	maxDigest = 1000
	maxRooms  = 20
	maxShown  = 5
)

// A digest is what a user has not read, by rooms.
type digest struct {
	pusher *storage.Pusher
	rooms  []*unreadRoom // in the order of their oldest notifications
	known  map[int64]storage.PusherRoom
	upTo   int64 // position of the newest notification
}

// An unreadRoom is what is unread of a room, the newest of it in full.
type unreadRoom struct {
	nid    int64
	oldest int64 // Unix ms
	count  int
	newest []storage.Notification
}

// workMail has a pusher send a mail if it is time to.
func (s *Service) workMail(ctx context.Context, p *storage.Pusher) outcome {
	d, err := s.collect(ctx, p)
	if err != nil {
		return s.troubled(ctx, err)
	}
	if len(d.rooms) == 0 {
		return s.finishMail(ctx, d, nil)
	}
	if wait := time.Duration(d.due(s.options.MailDelay)-s.now()) * time.Millisecond; wait > 0 {
		// What comes meanwhile is not due before the delay is over.
		return outcome{after: min(wait, s.options.MailDelay), patient: true}
	}
	own, err := s.hasAddress(ctx, p.User, p.Key)
	if err != nil {
		return s.troubled(ctx, err)
	}
	if !own {
		if err := s.remove(ctx, p); err != nil {
			return s.troubled(ctx, err)
		}
		return outcome{gone: true}
	}
	m, err := s.letter(ctx, d)
	if err != nil {
		return s.troubled(ctx, err)
	}
	if m == nil {
		return s.finishMail(ctx, d, nil)
	}
	switch err := s.options.Mailer.Send(ctx, *m); {
	case errors.Is(err, mail.ErrRefused):
		s.metrics.sent.WithLabelValues(undelivered).Inc()
		s.options.Log.WarnContext(ctx, "a mail about notifications was refused", "user", p.User, "err", err)
	case err != nil:
		if ctx.Err() == nil {
			s.metrics.sent.WithLabelValues(failed).Inc()
			s.options.Log.ErrorContext(ctx, "a mail about notifications has to be sent again", "err", err)
		}
		return outcome{err: err, dead: true}
	default:
		s.metrics.sent.WithLabelValues(sentMail).Inc()
	}
	return s.finishMail(ctx, d, d.rooms)
}

// collect is what the user of a pusher has not read and was not mailed about.
func (s *Service) collect(ctx context.Context, p *storage.Pusher) (*digest, error) {
	d := &digest{pusher: p, upTo: p.Position}
	byRoom := map[int64]*unreadRoom{}
	var nids []int64
	for range maxDigest / stretch {
		list, err := s.notifications(ctx, p.User, d.upTo, stretch)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			d.upTo = n.Position
			if n.Read || s.tooOld(n.TS, mailAge) {
				continue
			}
			r := byRoom[n.RoomNID]
			if r == nil {
				r = &unreadRoom{nid: n.RoomNID, oldest: n.TS}
				byRoom[n.RoomNID] = r
				d.rooms, nids = append(d.rooms, r), append(nids, n.RoomNID)
			}
			r.count++
			if r.newest = append(r.newest, n); len(r.newest) > maxShown {
				r.newest = r.newest[1:]
			}
		}
		if len(list) < stretch {
			break
		}
	}
	var err error
	d.known, err = s.store.Rooms(ctx, p.ID, nids)
	return d, err
}

// due is when the mail is to be sent, Unix ms: when something was unread for
// the delay, in a room about which there was no mail lately.
func (d *digest) due(delay time.Duration) int64 {
	var due int64
	for i, r := range d.rooms {
		at := r.oldest + delay.Milliseconds()
		if known, ok := d.known[r.nid]; ok {
			at = max(at, known.MailedAt+known.Pause)
		}
		if i == 0 || at < due {
			due = at
		}
	}
	return due
}

// finishMail moves the cursor past a digest, and remembers the rooms that were
// mailed about.
func (s *Service) finishMail(ctx context.Context, d *digest, mailed []*unreadRoom) outcome {
	if d.upTo == d.pusher.Position {
		return outcome{}
	}
	now := s.now()
	err := s.db.Update(ctx, func(tx *database.Tx) error {
		for _, r := range mailed {
			room := storage.PusherRoom{RoomNID: r.nid, MailedAt: now, Pause: s.pauseOf(d.known[r.nid], now).Milliseconds()}
			if err := s.store.SetRoom(ctx, tx, d.pusher.ID, room); err != nil {
				return err
			}
		}
		return s.store.Advance(ctx, tx, d.pusher.ID, d.upTo, d.pusher.Badge)
	})
	if err != nil {
		return s.troubled(ctx, err)
	}
	return outcome{more: true, contacted: len(mailed) > 0}
}

// pauseOf is how long there is no further mail about a room: longer each time,
// unless the last one is long ago.
func (s *Service) pauseOf(known storage.PusherRoom, now int64) time.Duration {
	if known.Pause == 0 || now-known.MailedAt > 2*longestPause.Milliseconds() {
		return s.options.MailDelay
	}
	return min(time.Duration(known.Pause)*time.Millisecond*quieter, longestPause)
}
