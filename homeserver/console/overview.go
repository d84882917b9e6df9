package console

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"trestle/appservice/sender"
	"trestle/registration"
)

// A card is how the delivery to one service stands, as pages show it.
type card struct {
	sender.Status
	Page    string // of the service
	Letters string // the page of its dead letters
	User    string // its own
	State   string // a class of the style
	Word    string // the same, for people
	Now     time.Time
	Error   string // the last one, without secrets
	Spark   plot
}

// Age is how long the oldest event waits.
func (c card) Age() time.Duration { return c.Now.Sub(c.Oldest) }

// NextIn is the time to the next attempt.
func (c card) NextIn() time.Duration { return c.NextAttempt.Sub(c.Now) }

// maxError is how much of an error is shown, in bytes.
const maxError = 1000

// cards are all services, in the order of the registry.
func (a *consoleAPI) cards() []card {
	statuses := map[string]sender.Status{}
	for _, s := range a.Deliveries.Status() {
		statuses[s.ID] = s
	}
	var list []card
	for _, r := range a.Registry.Load().All() {
		s, delivered := statuses[r.ID]
		list = append(list, a.card(r, s, delivered))
	}
	return list
}

func (a *consoleAPI) card(r *registration.Registration, s sender.Status, delivered bool) card {
	s.ID, s.URL = r.ID, r.URL
	if u, err := url.Parse(r.URL); err == nil {
		u.User, u.RawQuery = nil, "" // what may be a secret
		s.URL = u.String()
	}
	c := card{Status: s, User: "@" + r.SenderLocalpart + ":" + string(a.ServerName), Now: a.now()}
	c.Page, c.Letters = pageOf(servicePath, r.ID), pageOf(lettersPath, r.ID)
	c.Error = clip(a.hide(r.ID, s.LastError), maxError)
	switch {
	case !delivered:
		c.State, c.Word = "silent", "No URL"
	case s.Paused:
		c.State, c.Word = "paused", "Paused"
	case s.Attempts > 0:
		c.State, c.Word = "failing", "Failing"
	case !s.Live:
		c.State, c.Word = "behind", "Catching up"
	case s.Backlog() > 0:
		c.State, c.Word = "busy", "Delivering"
	default:
		c.State, c.Word = "well", "Up to date"
	}
	return c
}

// overview is all services.
type overview struct {
	Cards                             []card
	Failing, Waiting, Paused, Letters int
	Gone                              []gone // on the page, and not in what follows it
}

func (a *consoleAPI) overview(ctx context.Context) (overview, error) {
	return a.sumUp(func(c *card) error {
		samples, err := a.Record.Samples(ctx, c.ID)
		c.Spark = backlogFigure.draw(samples, c.Now, 144, 28)
		return err
	})
}

// sumUp looks at all services, and has each drawn.
func (a *consoleAPI) sumUp(draw func(*card) error) (overview, error) {
	o := overview{Cards: a.cards()}
	for i := range o.Cards {
		c := &o.Cards[i]
		if err := draw(c); err != nil {
			return o, err
		}
		o.Waiting += c.Backlog()
		o.Letters += c.DeadLetters
		switch c.State {
		case "failing":
			o.Failing++
		case "paused":
			o.Paused++
		}
	}
	return o, nil
}

func (a *consoleAPI) showOverview(ctx context.Context, v *visit) error {
	return a.showOverviewWith(ctx, v, http.StatusOK, done(v.form), "")
}

func (a *consoleAPI) showOverviewWith(ctx context.Context, v *visit, status int, done, problem string) error {
	o, err := a.overview(ctx)
	if err != nil {
		return err
	}
	if o.Gone, err = a.gone(ctx); err != nil {
		return err
	}
	return a.show(v, status, "overview", &view{Title: "Application services", Done: done, Error: problem, Live: livePath, Data: o})
}
