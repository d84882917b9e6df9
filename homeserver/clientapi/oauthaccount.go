package clientapi

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// Actions of these pages that have no name elsewhere.
const (
	actionPassword = "password"
	actionSignOut  = "sign_out"
)

// stageSession is the session of user-interactive authentication for which a page
// was opened; empty for those who have come otherwise.
const stageSession = "session"

// An accountAction is a page of account management (Client-Server API §
// Account management): what it shows, and what its form does.
type accountAction struct {
	// grave actions want somebody who has signed in just now.
	grave bool
	show  func(*oauthAPI, context.Context, *visit) (*page, error)
	do    func(*oauthAPI, context.Context, *visit) error
	done  string
	// give is instead of do where the answer has a page of its own.
	give func(*oauthAPI, context.Context, *visit) (*page, error)
}

// finish does what a form asks for, and is the page that says so.
func (action accountAction) finish(a *oauthAPI, ctx context.Context, v *visit) (*page, error) {
	if action.give != nil {
		return action.give(a, ctx, v)
	}
	return &page{Page: accounts.Page{Title: "Done", Text: action.done}}, action.do(a, ctx, v)
}

var accountActions = map[string]accountAction{
	oauth.ActionProfile:    {show: (*oauthAPI).profilePage, do: (*oauthAPI).changeProfile, done: "Your profile has been changed."},
	oauth.ActionDevices:    {show: (*oauthAPI).devicesPage},
	oauth.ActionDevice:     {show: (*oauthAPI).devicePage},
	oauth.ActionEndDevice:  {grave: true, show: (*oauthAPI).endDevicePage, do: (*oauthAPI).endDevice, done: "The device has been signed out."},
	oauth.ActionReset:      {grave: true, show: (*oauthAPI).resetPage, do: (*oauthAPI).allowReset, done: "Go back to your application now, and go on there within ten minutes."},
	oauth.ActionDeactivate: {grave: true, show: (*oauthAPI).deactivatePage, do: (*oauthAPI).deactivate, done: "The account is gone."},
	actionPassword:         {grave: true, show: (*oauthAPI).passwordPage, do: (*oauthAPI).changePassword, done: "You have a new password."},
	actionServices:         {show: (*oauthAPI).servicesPage},
	actionGrant:            {grave: true, show: (*oauthAPI).grantPage, give: (*oauthAPI).grant},
	actionWithdraw:         {show: (*oauthAPI).withdrawPage, do: (*oauthAPI).withdraw, done: "It may not act for you any more."},
	actionSignOut:          {show: (*oauthAPI).signOutPage, do: (*oauthAPI).signOut, done: "You have signed out here."},
}

// accountURL is the address of a page of account management.
func accountURL(action string, device matrix.DeviceID) string {
	query := url.Values{"action": {action}}
	if device != "" {
		query.Set("device_id", string(device))
	}
	return oauth.AccountPath + "?" + query.Encode()
}

// accountAction is what a visitor has come for; false if they were sent to sign
// in first.
func (a *oauthAPI) accountAction(v *visit) (accountAction, string, bool, error) {
	name := oauth.Action(v.form.Get("action"))
	action, ok := accountActions[name]
	if !ok {
		return action, name, false, matrix.NotFound("There is no page for that here.")
	}
	if v.User == "" || action.grave && !v.Recent {
		next := accountURL(name, matrix.DeviceID(v.form.Get("device_id")))
		if service := v.form.Get("appservice"); service != "" {
			next = serviceURL(name, service)
		}
		if session := v.form.Get(stageSession); session != "" {
			next += "&" + url.Values{stageSession: {session}}.Encode()
		}
		return action, name, false, v.goTo(withNext(oauth.LoginPath, next, "user", v.User.Localpart()))
	}
	return action, name, true, nil
}

func (a *oauthAPI) showAccount(ctx context.Context, v *visit) error {
	action, name, ok, err := a.accountAction(v)
	if !ok {
		return err
	}
	p, err := action.show(a, ctx, v)
	if err != nil {
		return err
	}
	return a.show(v, dress(p, v, action, name), http.StatusOK)
}

// dress gives a page what all of them have.
func dress(p *page, v *visit, action accountAction, name string) *page {
	p.Facts = append([]fact{{"Your account", string(v.User)}}, p.Facts...)
	if action.do != nil || action.give != nil {
		p.Action, p.Hidden = oauth.AccountPath, map[string]string{"action": name}
		for _, subject := range []string{"device_id", "appservice", stageSession} {
			if value := v.form.Get(subject); value != "" {
				p.Hidden[subject] = value
			}
		}
	}
	if name != oauth.ActionProfile {
		p.After = append(p.After, exit{"Your account", template.URL(oauth.AccountPath)})
	}
	return p
}

func (a *oauthAPI) changeAccount(ctx context.Context, v *visit) error {
	action, name, ok, err := a.accountAction(v)
	if !ok {
		return err
	}
	if action.do == nil && action.give == nil {
		return matrix.MethodNotAllowed()
	}
	done, err := action.finish(a, ctx, v)
	if err != nil {
		p, failed := action.show(a, ctx, v)
		if failed != nil {
			return failed
		}
		return a.explain(v, dress(p, v, action, name), err)
	}
	done.After = append(done.After, exit{"Your account", template.URL(oauth.AccountPath)})
	done.Done = name == oauth.ActionReset && v.form.Get(stageSession) != ""
	return a.show(v, done, http.StatusOK)
}

func (a *oauthAPI) profilePage(ctx context.Context, v *visit) (*page, error) {
	name, _, err := a.accounts.Profile(ctx, v.User)
	return &page{
		Page: accounts.Page{Title: "Your account", Continue: "Save", Fields: []accounts.Field{
			{Name: "displayname", Label: "Display name", Completes: "nickname", Value: name, Optional: true},
		}},
		Rows: []row{
			{Name: "Your devices", URL: accountURL(oauth.ActionDevices, "")},
			{Name: "Bridges and bots", URL: accountURL(actionServices, "")},
			{Name: "Change your password", URL: accountURL(actionPassword, "")},
			{Name: "Reset your cryptographic identity", URL: accountURL(oauth.ActionReset, "")},
			{Name: "Deactivate your account", URL: accountURL(oauth.ActionDeactivate, "")},
			{Name: "Sign out in this browser", URL: accountURL(actionSignOut, "")},
		},
	}, err
}

func (a *oauthAPI) changeProfile(ctx context.Context, v *visit) error {
	if v.Suspended {
		return matrix.UserSuspended()
	}
	name, err := json.Marshal(v.form.Get("displayname"))
	if err != nil {
		return err
	}
	return a.accounts.SetProfileField(ctx, accounts.Caller{UserID: v.User}, v.User, accounts.DisplayName, name)
}

func (a *oauthAPI) devicesPage(ctx context.Context, v *visit) (*page, error) {
	list, err := a.accounts.Devices(ctx, v.User)
	p := &page{Page: accounts.Page{Title: "Your devices"}}
	for _, d := range list {
		r := row{Name: d.DisplayName, URL: accountURL(oauth.ActionDevice, d.ID), Note: string(d.ID)}
		if r.Name == "" {
			r.Name, r.Note = string(d.ID), ""
		}
		p.Rows = append(p.Rows, r)
	}
	return p, err
}

// deviceFacts is what is known of the device that the page is about.
func (a *oauthAPI) deviceFacts(ctx context.Context, v *visit) ([]fact, error) {
	d, err := a.accounts.Device(ctx, v.User, matrix.DeviceID(v.form.Get("device_id")))
	if err != nil {
		return nil, err
	}
	facts := []fact{{"Device", string(d.ID)}}
	if d.DisplayName != "" {
		facts = append(facts, fact{"Name", d.DisplayName})
	}
	client, err := a.oauth.ClientOf(ctx, v.User, d.ID)
	if err != nil {
		return nil, err
	}
	if client != nil {
		facts = append(facts, fact{"Application", placeOf(client.URI)})
	}
	if d.LastSeenAt != 0 {
		facts = append(facts, fact{"Last used", time.UnixMilli(d.LastSeenAt).UTC().Format("2 January 2006, 15:04 UTC")}, fact{"From", d.LastSeenIP})
	}
	return facts, nil
}

func (a *oauthAPI) devicePage(ctx context.Context, v *visit) (*page, error) {
	facts, err := a.deviceFacts(ctx, v)
	return &page{
		Page: accounts.Page{Title: "A device of yours"}, Facts: facts,
		Rows: []row{{Name: "Sign it out", URL: accountURL(oauth.ActionEndDevice, matrix.DeviceID(v.form.Get("device_id")))}},
	}, err
}

func (a *oauthAPI) endDevicePage(ctx context.Context, v *visit) (*page, error) {
	facts, err := a.deviceFacts(ctx, v)
	return &page{Page: accounts.Page{
		Title: "Sign a device out?", Text: "Messages that only this device can decrypt will be lost.", Continue: "Sign it out",
	}, Facts: facts}, err
}

func (a *oauthAPI) endDevice(ctx context.Context, v *visit) error {
	return a.accounts.RemoveDevices(ctx, v.User, []matrix.DeviceID{matrix.DeviceID(v.form.Get("device_id"))})
}

func (a *oauthAPI) resetPage(context.Context, *visit) (*page, error) {
	return &page{Page: accounts.Page{
		Title: "Reset your cryptographic identity?", Continue: "Allow it",
		Text: "Do this only if your application has sent you here, and if you cannot get at your keys any more. People you talk to will have to verify you once more.",
	}}, nil
}

// allowReset lets the user's application go on. Whoever signs in as somebody else
// than the application's user would wait for nothing.
func (a *oauthAPI) allowReset(ctx context.Context, v *visit) error {
	if session := v.form.Get(stageSession); session != "" && !a.accounts.SessionOf(session, v.User) {
		return matrix.Forbidden("Your application does not ask for this account, or has asked too long ago.")
	}
	return a.oauth.AllowReset(ctx, v.User)
}

func (a *oauthAPI) deactivatePage(context.Context, *visit) (*page, error) {
	return &page{Page: accounts.Page{
		Title: "Deactivate your account?", Continue: "Deactivate it for good",
		Text: "You will leave all rooms and be signed out everywhere. Nobody can undo this, and nobody can take your user name again.",
	}, Boxes: []box{{"erase", "Forget what I have said, as far as possible"}}}, nil
}

func (a *oauthAPI) deactivate(ctx context.Context, v *visit) error {
	if _, err := a.accounts.UnbindAll(ctx, v.User, ""); err != nil {
		return err
	}
	return a.accounts.Deactivate(ctx, v.User, v.form.Get("erase") == "yes")
}

func (a *oauthAPI) passwordPage(context.Context, *visit) (*page, error) {
	return &page{Page: accounts.Page{Title: "Change your password", Continue: "Change it", Fields: []accounts.Field{
		{Name: "password", Label: "New password", Secret: true, Completes: "new-password"},
		{Name: "again", Label: "The password once more", Secret: true, Completes: "new-password"},
	}}, Boxes: []box{{"everywhere", "Sign out everywhere"}}}, nil
}

func (a *oauthAPI) changePassword(ctx context.Context, v *visit) error {
	if v.form.Get("password") != v.form.Get("again") {
		return matrix.InvalidParam("The two passwords differ.")
	}
	return a.accounts.SetPassword(ctx, v.User, v.form.Get("password"), v.form.Get("everywhere") == "yes", "")
}

func (a *oauthAPI) signOutPage(context.Context, *visit) (*page, error) {
	return &page{Page: accounts.Page{Title: "Sign out in this browser?", Text: "Your devices stay signed in.", Continue: "Sign out"}}, nil
}

func (a *oauthAPI) signOut(ctx context.Context, v *visit) error {
	return a.oauth.SignOut(ctx, v.Visitor)
}
