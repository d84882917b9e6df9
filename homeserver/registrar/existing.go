package registrar

import (
	"context"
	"fmt"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/registration"
)

const (
	pageOfNames = 1000
	timeToCount = 10 * time.Second
)

// A counter counts what the expressions of one kind match.
type counter struct {
	matches []Match
	spaces  []registration.Namespace
}

func newCounter(k kind) *counter {
	c := &counter{spaces: k.spaces[:min(len(k.spaces), maxMatches)]}
	for _, space := range c.spaces {
		c.matches = append(c.matches, Match{Kind: k.name, Regex: space.Regex, Exclusive: space.Exclusive, Examples: []string{}})
	}
	return c
}

func (c *counter) see(name string, foreign bool) {
	for i, space := range c.spaces {
		if !space.Matches(name) {
			continue
		}
		m := &c.matches[i]
		m.Count++
		if foreign {
			m.Foreign++
		}
		if len(m.Examples) < maxExamples {
			m.Examples = append(m.Examples, name)
		}
	}
}

// existing counts which of the users, aliases and rooms that there are the
// registration matches.
func (s *Service) existing(ctx context.Context, report *Report, reg *registration.Registration) error {
	ctx, cancel := context.WithTimeout(ctx, timeToCount)
	defer cancel()
	sender := reg.Sender(s.options.ServerName)
	for _, k := range s.kinds(reg) {
		c := newCounter(k)
		if len(c.spaces) < len(k.spaces) {
			report.partial = true
			report.add(Note, 0, "Of %d expressions for %s the first %d are counted.", len(k.spaces), k.name, maxMatches)
		}
		all := true
		var err error
		switch k.name {
		case "users":
			all, err = pages(ctx, s.options.Names.Accounts, func(a storage.NamedAccount) matrix.UserID {
				s.senderTaken(report, reg, a, sender)
				c.see(string(a.User), a.AppService != reg.ID && a.User != sender)
				return a.User
			})
		case "aliases":
			all, err = pages(ctx, s.options.Names.Aliases, func(a matrix.RoomAlias) matrix.RoomAlias {
				c.see(string(a), false)
				return a
			})
		case "rooms":
			if len(c.spaces) == 0 {
				continue
			}
			all, err = pages(ctx, s.options.Names.Rooms, func(r matrix.RoomID) matrix.RoomID {
				c.see(string(r), false)
				return r
			})
		}
		if err != nil {
			return fmt.Errorf("look at the %s that there are: %w", k.name, err)
		}
		if !all {
			report.partial = true
			report.add(Note, 0, "There are more %s than were looked at; the numbers are lower bounds.", k.name)
		}
		report.Matches = append(report.Matches, c.matches...)
	}
	for _, m := range report.Matches {
		if m.Foreign > 0 {
			report.add(Warning, 0, "%d of the users that %.120q matches were not made by this service: it could act as them.", m.Foreign, m.Regex)
		}
	}
	return nil
}

func (s *Service) senderTaken(report *Report, reg *registration.Registration, a storage.NamedAccount, sender matrix.UserID) {
	if a.User == sender && a.AppService != reg.ID {
		owner := "somebody's account"
		if a.AppService != "" {
			owner = fmt.Sprintf("a user of %q", a.AppService)
		}
		report.add(Warning, 0, "The service's own user %s is %s already; the service would act as it.", sender, owner)
	}
}

// pages looks at all names; all is false if there are too many.
func pages[Row any, Name ~string](ctx context.Context, read func(context.Context, Name, int) ([]Row, error), see func(Row) Name) (all bool, err error) {
	var after Name
	for seen := 0; seen < maxNames && ctx.Err() == nil; seen += pageOfNames {
		rows, err := read(ctx, after, pageOfNames)
		if err != nil && ctx.Err() != nil {
			break // out of time
		}
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			after = see(row)
		}
		if len(rows) < pageOfNames {
			return true, nil
		}
	}
	return false, nil
}
