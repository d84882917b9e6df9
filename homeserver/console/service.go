package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trestle/homeserver/console/record"
	"trestle/internal/matrix"
)

// serviceView is the page of a service.
type serviceView struct {
	card
	Plots       []plot
	Table       []hour
	Protocols   string
	Transaction string // the page of the one that is sent
	Deeds       []deed // the last that operators have done
	Log         string // the page of all of them
}

// service is the view of a service, M_NOT_FOUND if there is none.
func (a *consoleAPI) service(ctx context.Context, id string) (serviceView, error) {
	reg := a.Registry.Load().ByID(id)
	if reg == nil {
		return serviceView{}, noService(id)
	}
	s := serviceView{
		Protocols: strings.Join(reg.Protocols, ", "), Transaction: pageOf(transactionPath, id),
	}
	for _, c := range a.cards() {
		if c.ID == id {
			s.card = c
		}
	}
	samples, err := a.Record.Samples(ctx, id)
	s.draw(samples)
	return s, err
}

func (s *serviceView) draw(samples []record.Sample) {
	const width, height = 720, 130
	s.Plots = []plot{backlogFigure.draw(samples, s.Now, width, height), eventsFigure.draw(samples, s.Now, width, height)}
	s.Table = hours(samples)
}

func (a *consoleAPI) showService(ctx context.Context, v *visit) error {
	return a.showServiceWith(ctx, v, http.StatusOK, done(v.form), "")
}

func (a *consoleAPI) showServiceWith(ctx context.Context, v *visit, status int, done, problem string) error {
	id := v.form.Get("id")
	s, err := a.service(ctx, id)
	if err != nil {
		return err
	}
	s.Log = pageOf(logPath, id)
	if s.Deeds, _, err = a.deeds(ctx, id, 0, recentDeeds); err != nil {
		return err
	}
	return a.show(v, status, "service", &view{Title: id, Done: done, Error: problem, Live: pageOf(livePath, id), Data: s})
}

// An action is what a button on the page of a service does. It adds what there
// is to tell to the query of the page that comes next.
type action struct {
	do   func(a *consoleAPI, ctx context.Context, v *visit, id string, told url.Values) error
	done string
}

var actions = map[string]action{
	"pause":    {do: (*consoleAPI).pause, done: "The delivery is paused. What happens from now on waits."},
	"resume":   {do: (*consoleAPI).resume, done: "The delivery goes on."},
	"retry":    {do: (*consoleAPI).retry, done: "The next attempt begins now."},
	"skip_all": {do: (*consoleAPI).skipAll, done: "All that waited is skipped. What happens from now on is sent."},
	"ping":     {do: (*consoleAPI).ping, done: "The service has answered a ping"},
}

// done says what has been done, from the query of the page.
func done(query url.Values) string {
	name := query.Get("done")
	text := actions[name].done
	switch name {
	case "skip":
		return "The transaction is a dead letter now. The next one is sent."
	case "forget":
		return "The service is forgotten."
	case "replay":
		return "The service has taken the dead letter."
	case "discard":
		return "The dead letter is gone."
	}
	if name == "ping" {
		if ms, err := strconv.ParseInt(query.Get("took"), 10, 32); err == nil && ms >= 0 {
			text += " after " + strconv.FormatInt(ms, 10) + " ms"
		}
		text += "."
	}
	return text
}

func (a *consoleAPI) changeService(ctx context.Context, v *visit) error {
	id, name := v.form.Get("id"), v.form.Get("action")
	if a.Registry.Load().ByID(id) == nil {
		return noService(id)
	}
	action, ok := actions[name]
	if !ok {
		return matrix.InvalidParam("There is nothing of that name to do.")
	}
	told := url.Values{"id": {id}, "done": {name}}
	err := action.do(a, ctx, v, id, told)
	if known := forPeople(err); known != nil {
		return a.showServiceWith(ctx, v, mild(known.Status), "", clip(a.hide(id, known.Message), maxError))
	}
	if err != nil {
		return err
	}
	return v.goTo(servicePath + "?" + told.Encode())
}

func (a *consoleAPI) retry(ctx context.Context, v *visit, id string, _ url.Values) error {
	return a.Ledger.Retry(ctx, v.session.User, id)
}

func (a *consoleAPI) ping(ctx context.Context, v *visit, id string, told url.Values) error {
	took, err := a.Ledger.Ping(ctx, v.session.User, id)
	told.Set("took", strconv.FormatInt(max(1, took.Round(time.Millisecond).Milliseconds()), 10))
	return err
}

func (a *consoleAPI) pause(ctx context.Context, v *visit, id string, _ url.Values) error {
	return a.Ledger.Pause(ctx, v.session.User, id, strings.TrimSpace(v.form.Get("reason")))
}

func (a *consoleAPI) resume(ctx context.Context, v *visit, id string, _ url.Values) error {
	return a.Ledger.Resume(ctx, v.session.User, id)
}

// skipAll skips all that waits.
func (a *consoleAPI) skipAll(ctx context.Context, v *visit, id string, _ url.Values) error {
	reason, err := graveReason(v)
	if err == nil {
		_, err = a.Ledger.SkipAll(ctx, v.session.User, id, reason)
	}
	return err
}

// graveReason is why something is taken away by somebody who is sure of it.
func graveReason(v *visit) (string, error) {
	reason := strings.TrimSpace(v.form.Get("reason"))
	switch {
	case v.form.Get("sure") != "yes":
		return "", matrix.InvalidParam("Tick that what waits may be lost.")
	case reason == "":
		return "", matrix.InvalidParam("Say why, for whoever looks for it.")
	}
	return reason, nil
}

func noService(id string) error {
	return matrix.NotFound("There is no application service %q.", clip(id, 200))
}

// forPeople is an error that a page can show, or nil.
func forPeople(err error) *matrix.Error {
	var known *matrix.Error
	errors.As(err, &known)
	return known
}

// mild is the status of a page that tells of an error: if it is the service that
// has a problem, the page has none.
func mild(status int) int {
	if status >= http.StatusInternalServerError {
		return http.StatusOK
	}
	return status
}

// hide takes the tokens of a service out of a text that the service, or the way
// to it, has written. Such texts are cut, so that one may be there in part.
func (a *consoleAPI) hide(id, text string) string {
	reg := a.Registry.Load().ByID(id)
	if reg == nil {
		return text
	}
	for _, token := range []string{reg.HSToken, reg.ASToken, reg.Previous.HSToken, reg.Previous.ASToken} {
		if token == "" {
			continue
		}
		for _, form := range []string{token, url.QueryEscape(token), url.PathEscape(token)} {
			text = hidePart(strings.ReplaceAll(text, form, hidden), form)
		}
	}
	return text
}

const hidden = "•••"

// hidePart takes the begin of a token away from the end of a text.
func hidePart(text, token string) string {
	bare := strings.TrimRight(text, `"… `)
	for n := len(token) - 1; n >= 6; n-- {
		if rest, ok := strings.CutSuffix(bare, token[:n]); ok {
			return rest + hidden + text[len(bare):]
		}
	}
	return text
}
