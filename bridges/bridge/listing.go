package bridge

import (
	"context"

	"trestle/appservice/client"
	"trestle/internal/database"
)

var (
	selectUnlisted = database.SQL(`
		SELECT portal
		FROM unlisted
		ORDER BY portal
		LIMIT 1000000`)
	insertUnlisted = database.SQL(`
		INSERT INTO unlisted (portal)
		VALUES ($1)
		ON CONFLICT (portal) DO NOTHING`)
	deleteUnlisted = database.SQL(`
		DELETE FROM unlisted
		WHERE portal = $1`)
)

// A listing is what the directory of public rooms has to do with the portal's room. It belongs
// to the portal's mutex.
type listing struct {
	hidden  bool // we have taken the room out
	hide    bool // and it is to be out
	relist  bool // what is not hidden any more comes back
	running bool
}

func (b *Bridge) loadUnlisted(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectUnlisted)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		if err := rows.Scan(&portal); err != nil {
			return err
		}
		if p := b.byID[portal]; p != nil {
			p.listing.hidden, p.listing.hide = true, true
		}
	}
	return rows.Err()
}

// Hide takes the room out of the directory of public rooms, unless it is another's. It waits for nothing that
// is on its way to the room.
func (p *Portal) Hide() { p.list(true, false) }

// Unhide ends that. With relist the room is in the directory again.
func (p *Portal) Unhide(relist bool) { p.list(false, relist) }

func (p *Portal) list(hide, relist bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &p.listing
	l.hide, l.relist = hide, relist
	if p.room != "" && !p.plumbed && l.hidden != l.hide && !l.running {
		l.running = p.bridge.goRun(p.relist)
	}
}

// relist tells the directory, as often as it takes.
func (p *Portal) relist() {
	ctx, bot := p.bridge.ctx, p.bridge.client.Bot()
	for {
		p.mu.Lock()
		l, room := &p.listing, p.room
		hide, tell := l.hide, l.hide || l.relist
		if hide == l.hidden || ctx.Err() != nil {
			l.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		var err error
		if tell {
			err = client.Retry(ctx, p.bridge.noteFailing("change a room's listing"), func(ctx context.Context) error {
				return bot.SetListed(ctx, room, !hide)
			})
		}
		if err != nil && ctx.Err() == nil {
			p.bridge.log.Error("the homeserver does not change a room's listing", "room", room, "listed", !hide, "err", err)
		}
		p.mu.Lock()
		if ctx.Err() == nil && room == p.room {
			l.hidden = hide // what was refused for good would be refused each time
		}
		p.mu.Unlock()
		switch {
		case err != nil:
		case hide:
			p.bridge.write(insertUnlisted, p.id)
		default:
			p.bridge.write(deleteUnlisted, p.id)
		}
	}
}
