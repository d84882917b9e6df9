package clientapi

import (
	"context"
	"net/http"
	"net/url"

	"trestle/homeserver/accounts"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// linkPage asks for the code that a device shows (RFC 8628 § 3.3).
func linkPage(code string) *page {
	return &page{Page: accounts.Page{
		Title: "Sign in on a device", Text: "Type in the code that the device shows. If it shows none, or another one, somebody else is trying to get into your account.",
		Fields: []accounts.Field{{Name: "user_code", Label: "Code", Completes: "off", Value: code}},
	}, Action: oauth.LinkPath}
}

func (a *oauthAPI) showLink(_ context.Context, v *visit) error {
	code := v.form.Get("user_code")
	if v.User == "" {
		return v.goTo(withNext(oauth.LoginPath, oauth.LinkPath+"?"+url.Values{"user_code": {code}}.Encode()))
	}
	return a.show(v, linkPage(code), http.StatusOK)
}

// link takes the code, and then the answer.
func (a *oauthAPI) link(ctx context.Context, v *visit) error {
	code := v.form.Get("user_code")
	if v.User == "" {
		return a.showLink(ctx, v)
	}
	device, err := a.oauth.Waiting(ctx, code)
	if err != nil {
		return a.explain(v, linkPage(code), err)
	}
	if v.form.Get("answer") == "" && v.form.Get("days") == "" {
		facts, err := a.factsOf(ctx, v.User, device.Client, device.Scope)
		if err != nil {
			return err
		}
		p := consentPage(device.Client, device.Scope, append(facts, fact{"The device shows", device.UserCode}))
		p.Action, p.Hidden = oauth.LinkPath, map[string]string{"user_code": device.UserCode}
		return a.show(v, p, http.StatusOK)
	}
	allowed, lasting, err := answered(v, device.Scope)
	if err == nil {
		user := matrix.UserID("") // who denies it
		if allowed {
			user, device.Lasting = v.User, lasting
		}
		err = a.oauth.AnswerDevice(ctx, device, user)
	}
	if err != nil {
		return a.explain(v, linkPage(code), err)
	}
	done := accounts.Page{Title: "Done", Text: "The device goes on by itself. You can close this window."}
	return a.show(v, &page{Page: done}, http.StatusOK)
}
