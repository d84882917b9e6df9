package clientapi

import (
	"context"
	"html/template"
	"net/url"
	"strconv"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// Pages on which people let application services act for them, and end that.
const (
	actionServices = "trestle.appservices"
	actionGrant    = "trestle.appservice_grant"
	actionWithdraw = "trestle.appservice_withdraw"
)

// grantDays are the times that are offered.
var grantDays = []int{30, 365}

func dayOf(ms int64) string { return time.UnixMilli(ms).UTC().Format("2 January 2006") }

func (a *oauthAPI) servicesPage(ctx context.Context, v *visit) (*page, error) {
	p := &page{Page: accounts.Page{Title: "Bridges and bots", Text: "What runs beside this server can act for you, if you let it."}}
	list, err := a.accounts.Grants(ctx, v.User)
	for _, g := range list {
		r := row{Name: g.Service, URL: serviceURL(actionGrant, g.Service)}
		if g.Granted {
			r.Note = "may act for you until " + dayOf(g.ExpiresAt)
			r.URL = serviceURL(actionWithdraw, g.Service)
		}
		p.Rows = append(p.Rows, r)
	}
	return p, err
}

func serviceURL(action, service string) string {
	return oauth.AccountPath + "?" + url.Values{"action": {action}, "appservice": {service}}.Encode()
}

// grantOf is the application service that a page is about.
func (a *oauthAPI) grantOf(ctx context.Context, v *visit) (accounts.Grant, error) {
	list, err := a.accounts.Grants(ctx, v.User)
	for _, g := range list {
		if g.Service == v.form.Get("appservice") {
			return g, err
		}
	}
	if err == nil {
		err = matrix.NotFound("There is no application service of that name here.")
	}
	return accounts.Grant{}, err
}

func (a *oauthAPI) grantPage(ctx context.Context, v *visit) (*page, error) {
	g, err := a.grantOf(ctx, v)
	if err != nil {
		return nil, err
	}
	return &page{
		Page: accounts.Page{Title: actTitle(g.Service), Text: actText + " Here you can end it at any time."}, Facts: actFacts(g), Buttons: dayButtons(),
	}, nil
}

func actTitle(service string) string { return "Let " + service + " act for you?" }

const actText = "It will be able to read your rooms, to write in your name, and to join and leave rooms for you. It can neither change your account, your devices and your keys, nor read what is encrypted."

// actFacts is what somebody should know who lets a service act.
func actFacts(g accounts.Grant) []fact {
	if !g.Granted {
		return nil
	}
	return []fact{{"Beware", "It may act for you already. The token that it has will end."}}
}

// factsOfService is who lets which service act, by an application.
func (a *oauthAPI) factsOfService(ctx context.Context, user matrix.UserID, service string, facts []fact) ([]fact, error) {
	list, err := a.accounts.Grants(ctx, user)
	for _, g := range list {
		if g.Service == service {
			facts = append(facts, actFacts(g)...)
		}
	}
	return append(facts, fact{"You can end it", "on the pages of your account, under “Bridges and bots”"}), err
}

func dayButtons() []button {
	var list []button
	for _, days := range grantDays {
		list = append(list, button{"days", strconv.Itoa(days), "For " + strconv.Itoa(days) + " days"})
	}
	return list
}

// daysOf is for how long a form lets a service act.
func daysOf(v *visit) (time.Duration, error) {
	days, err := strconv.Atoi(v.form.Get("days"))
	if err != nil || days < 1 || days > grantDays[len(grantDays)-1] {
		return 0, matrix.InvalidParam("Say for how long.")
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

// grant shows the token, this once.
func (a *oauthAPI) grant(ctx context.Context, v *visit) (*page, error) {
	if v.Suspended {
		return nil, matrix.UserSuspended()
	}
	lasting, err := daysOf(v)
	if err != nil {
		return nil, err
	}
	service := v.form.Get("appservice")
	token, err := a.accounts.Grant(ctx, v.User, service, lasting)
	if err != nil {
		return nil, err
	}
	return &page{
		Page:  accounts.Page{Title: "Done", Text: "Give this token to " + service + " and to nobody else. It is not shown again."},
		Facts: []fact{{"Token", token}, {"Scope", accounts.GrantScope(service)}},
		After: []exit{{"Bridges and bots", template.URL(accountURL(actionServices, ""))}},
	}, nil
}

func (a *oauthAPI) withdrawPage(ctx context.Context, v *visit) (*page, error) {
	g, err := a.grantOf(ctx, v)
	if err != nil {
		return nil, err
	}
	if !g.Granted {
		return nil, matrix.NotFound("%s may not act for you.", g.Service)
	}
	p := &page{
		Page:  accounts.Page{Title: "End what " + g.Service + " may do?", Text: "It will not be able to act for you any more, from now on.", Continue: "End it"},
		Facts: []fact{{"It may act for you until", dayOf(g.ExpiresAt)}},
		After: []exit{{"Make a new token", template.URL(serviceURL(actionGrant, g.Service))}},
	}
	if g.UsedAt != 0 {
		p.Facts = append(p.Facts, fact{"Last used", time.UnixMilli(g.UsedAt).UTC().Format("2 January 2006, 15:04 UTC")})
	}
	return p, nil
}

func (a *oauthAPI) withdraw(ctx context.Context, v *visit) error {
	return a.accounts.Withdraw(ctx, v.User, v.form.Get("appservice"))
}
