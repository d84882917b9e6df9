package clientapi

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// showConsent asks the user whether an application may use the account
// (RFC 6749 § 4.1.1). Nobody is sent back to an application without a click,
// not even with an error: anybody can register one.
func (a *oauthAPI) showConsent(ctx context.Context, v *visit) error {
	request, err := a.oauth.ParseRequest(ctx, v.r.URL.RawQuery)
	if err != nil {
		return a.refuse(v, err)
	}
	switch {
	case request.Create && a.accounts.SignUpStages() != nil:
		return v.goTo(withNext(oauth.SignUpPath, request.Path()))
	case v.User == "" || request.Again:
		return v.goTo(withNext(oauth.LoginPath, request.Path(), "user", request.Hint))
	}
	facts, err := a.factsOf(ctx, v.User, request.Client, request.Scope)
	if err != nil {
		return err
	}
	facts = append(facts, fact{"You will go back to", placeOf(request.Redirect)})
	p := consentPage(request.Client, request.Scope, facts)
	p.Action, p.Next, p.Hidden = oauth.AuthorizePath, request.Redirect, map[string]string{"request": request.Query()}
	p.After = append(p.After, exit{"Use another account", template.URL(withNext(oauth.LoginPath, request.Path()))})
	return a.show(v, p, http.StatusOK)
}

// consentPage asks; what it is about is in the facts.
func consentPage(client *oauth.Client, scope oauth.Scope, facts []fact) *page {
	name := client.Name
	if name == "" {
		name = placeOf(client.URI)
	}
	p := &page{Page: accounts.Page{
		Title: "Allow " + name + "?",
		Text:  "It will be able to read and send messages, and to do everything else that you can do. Allow only what you have just started yourself.",
	}, Facts: facts, Buttons: []button{{"answer", "allow", "Allow"}, {"answer", "deny", "Do not allow"}}}
	if scope.AppService != "" {
		p.Title, p.Text = actTitle(scope.AppService), actText+" "+name+" is given the token for it. Allow only what you have just started yourself."
		p.Buttons = append(dayButtons(), button{"answer", "deny", "Do not allow"})
	}
	for _, link := range []accounts.Document{{Name: "About the application", URL: client.URI}, {Name: "Its terms", URL: client.TermsURI}, {Name: "Its privacy policy", URL: client.PolicyURI}} {
		if link.URL != "" {
			p.Links = append(p.Links, link)
		}
	}
	return p
}

// factsOf is who allows what.
func (a *oauthAPI) factsOf(ctx context.Context, user matrix.UserID, client *oauth.Client, scope oauth.Scope) ([]fact, error) {
	facts := []fact{{"Your account", string(user)}, {"The application is from", placeOf(client.URI)}}
	if scope.AppService != "" {
		return a.factsOfService(ctx, user, scope.AppService, facts)
	}
	facts = append(facts, fact{"It will be the device", string(scope.Device)})
	existing, err := a.accounts.Device(ctx, user, scope.Device)
	if matrix.Code(err) == "M_NOT_FOUND" {
		return facts, nil
	}
	if err != nil {
		return nil, err
	}
	name := existing.DisplayName
	if name == "" {
		name = string(existing.ID)
	}
	return append(facts, fact{"Beware", "You have that device already, “" + name + "”. It will be signed out, and the application takes its place."}), nil
}

// placeOf is whose an address is, for people.
func placeOf(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return ""
	case u.Host == "":
		return "the application " + u.Scheme + " on this device"
	case u.Scheme == "http":
		return "an application on this device (" + u.Host + ")"
	}
	return u.Host
}

// refuse shows what is wrong with a request, and lets the user go back.
func (a *oauthAPI) refuse(v *visit, err error) error {
	p := &page{Page: accounts.Page{Title: "The application has asked for something impossible"}}
	var refusal *oauth.Refusal
	if !errors.As(err, &refusal) {
		return a.explain(v, p, err)
	}
	back := a.oauth.Refuse(refusal)
	p.Error = refusal.Cause.Description
	label := "Go back to " + placeOf(refusal.Request.Redirect)
	if back.Form != nil {
		return sendBack(v, p, back, label, http.StatusBadRequest)
	}
	p.After = []exit{{label, template.URL(back.URL)}}
	return p.write(v.w, http.StatusBadRequest)
}

// sendBack has the browser send a form to the application (OAuth 2.0 Form Post
// Response Mode), by a click: pages have no scripts here.
func sendBack(v *visit, p *page, back oauth.Return, label string, status int) error {
	p.Action, p.Next, p.Continue, p.Hidden = back.URL, back.URL, label, map[string]string{}
	for name := range back.Form {
		p.Hidden[name] = back.Form.Get(name)
	}
	return p.write(v.w, status)
}

// consent takes the answer.
func (a *oauthAPI) consent(ctx context.Context, v *visit) error {
	request, err := a.oauth.ParseRequest(ctx, v.form.Get("request"))
	if err != nil {
		return a.refuse(v, err)
	}
	if v.User == "" {
		return v.goTo(withNext(oauth.LoginPath, request.Path()))
	}
	allowed, lasting, err := answered(v, request.Scope)
	if err != nil {
		return err
	}
	back := a.oauth.Deny(request)
	if allowed {
		request.Lasting = lasting
		if back, err = a.oauth.Allow(ctx, request, v.User); err != nil {
			return err
		}
	}
	if back.Form == nil {
		return v.goTo(back.URL)
	}
	return sendBack(v, &page{Page: accounts.Page{Title: "Done"}}, back, "Go back to "+placeOf(request.Redirect), http.StatusOK)
}

// answered is what the user says to a scope: whether it is allowed, and, if an
// application service is to act, for how long.
func answered(v *visit, scope oauth.Scope) (allowed bool, lasting time.Duration, err error) {
	switch answer := v.form.Get("answer"); {
	case answer == "deny":
		return false, 0, nil
	case scope.AppService != "":
		if v.Suspended {
			return false, 0, matrix.UserSuspended()
		}
		lasting, err = daysOf(v)
		return err == nil, lasting, err
	case answer == "allow":
		return true, 0, nil
	}
	return false, 0, matrix.InvalidParam("There are two answers: to allow it or not.")
}
