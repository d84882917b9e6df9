package clientapi

import (
	"context"
	"net/http"
	"net/url"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/sso"
	"trestle/internal/matrix"
)

// ssoLogin is the type of logins at other places. Its last step is tokenLogin.
const ssoLogin = sso.StageName

// An IdentityProvider is such a place, as clients show it.
type IdentityProvider struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Icon  string `json:"icon,omitempty"`
	Brand string `json:"brand,omitempty"`
}

// IdentityProviders are the places that a service knows.
func IdentityProviders(service *sso.Service) []IdentityProvider {
	var list []IdentityProvider
	for _, p := range service.Providers() {
		list = append(list, IdentityProvider(p))
	}
	return list
}

// ssoAPI serves the module sso_login: redirects, and pages for browsers.
type ssoAPI struct {
	sso      *sso.Service
	accounts *accounts.Service
}

// SSORoutes are the endpoints about logins at other places.
func SSORoutes(service *sso.Service, accounts *accounts.Service) []api.Route {
	return (&ssoAPI{service, accounts}).routes()
}

func (a *ssoAPI) routes() []api.Route {
	limit, explain := api.Limit("login"), api.Errors(errorPage)
	return []api.Route{
		api.Raw("GET", sso.LoginPath, api.None, a.redirect, limit, explain),
		api.Raw("GET", sso.LoginPath+"/{idpId}", api.None, a.redirectTo, limit, explain),
		api.Raw("GET", sso.ChoosePath, api.None, a.choose, explain),
		api.Raw("GET", sso.CallbackPath+"{idpId}", api.None, a.callback, explain),
		api.Raw("GET", sso.StartPath+"{idpId}", api.None, a.start, limit, explain),
		api.Raw("GET", sso.ConfirmPath, api.None, a.confirm, limit, explain),
		api.Raw("POST", sso.LogoutPath+"{idpId}", api.None, a.logOut, api.BodyLimit(maxForm), api.Errors(oauthErrors)),
		api.Raw("GET", sso.NextPath, api.None, a.question, explain),
		api.Raw("POST", sso.NextPath, api.None, a.answer, limit, api.BodyLimit(maxForm), explain),
	}
}

// follow takes a browser to its next step.
func (a *ssoAPI) follow(w http.ResponseWriter, r *http.Request, next *sso.Next, status int) error {
	if next.Cookie != nil {
		http.SetCookie(w, next.Cookie)
	}
	if next.Done {
		return donePage().write(w, http.StatusOK)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, next.Redirect, status)
	return nil
}

func loginRequestOf(params api.Params, provider string) sso.LoginRequest {
	return sso.LoginRequest{Provider: provider, Client: params.Query("redirectUrl"), Action: params.Query("action")}
}

func (a *ssoAPI) redirect(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	return a.beginLogin(w, r, loginRequestOf(params, ""))
}

func (a *ssoAPI) redirectTo(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	return a.beginLogin(w, r, loginRequestOf(params, params.Path("idpId")))
}

func (a *ssoAPI) beginLogin(w http.ResponseWriter, r *http.Request, request sso.LoginRequest) error {
	next, err := a.sso.BeginLogin(r.Context(), request)
	if err != nil {
		return err
	}
	return a.follow(w, r, next, http.StatusFound)
}

// logOut hears that a login at a provider is over, from the provider itself
// (OpenID Connect Back-Channel Logout 1.0 § 2.8).
func (a *ssoAPI) logOut(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	w.Header().Set("Cache-Control", "no-store")
	if err := r.ParseForm(); err != nil {
		return matrix.InvalidParam("The form could not be read.")
	}
	if err := a.sso.Logout(r.Context(), params.Path("idpId"), r.PostForm.Get("logout_token")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// choose shows the providers to people whose clients do not.
func (a *ssoAPI) choose(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	if err := a.sso.CheckLogin(loginRequestOf(params, "")); err != nil {
		return err
	}
	p := &page{Page: accounts.Page{Title: "Log in"}}
	for _, provider := range a.sso.Providers() {
		p.Ways = append(p.Ways, way{"Continue with " + provider.Name, sso.LoginPath + "/" + url.PathEscape(provider.ID) + "?" + r.URL.RawQuery})
	}
	return p.write(w, http.StatusOK)
}

func (a *ssoAPI) callback(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	next, err := a.sso.Callback(r.Context(), r.Cookies(), params.Path("idpId"), r.URL.Query())
	if err != nil {
		return err
	}
	return a.follow(w, r, next, http.StatusFound)
}

func (a *ssoAPI) start(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	next, err := a.sso.BeginReturn(r.Context(), params.Path("idpId"), params.Query("return_to"), params.Query("mac"))
	if err != nil {
		return err
	}
	return a.follow(w, r, next, http.StatusFound)
}

// confirm asks people whether an operation is theirs, before they prove to a
// provider who they are: that may need no more than a redirect.
func (a *ssoAPI) confirm(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	session := params.Query("session")
	if session == "" {
		return matrix.MissingParam("The query parameter session is missing.")
	}
	if provider := params.Query("provider"); provider != "" {
		next, err := a.sso.BeginConfirmation(r.Context(), r.Cookies(), provider, session, params.Query("proof"))
		if err != nil {
			return err
		}
		if next != nil {
			return a.follow(w, r, next, http.StatusFound)
		}
	}
	asked, err := a.sso.AskConfirmation(r.Cookies(), session)
	if err != nil {
		return err
	}
	http.SetCookie(w, asked.Cookie)
	p := &page{Page: accounts.Page{
		Title: "Confirm that it is you",
		Text: "An application wants to change something about your account that needs your confirmation. To allow it, log in once more. " +
			"If you did not expect this, close this page: somebody else may be using your account.",
	}}
	for _, by := range asked.Ways {
		p.Ways = append(p.Ways, way{"Confirm with " + by.Name, by.URL})
	}
	return p.write(w, http.StatusOK)
}

func (a *ssoAPI) question(w http.ResponseWriter, r *http.Request, _ api.Caller, params api.Params) error {
	p, err := a.questionPage(r.Context(), r.Cookies(), params.Query("token"))
	if err != nil {
		return err
	}
	return p.write(w, http.StatusOK)
}

func (a *ssoAPI) questionPage(ctx context.Context, cookies []*http.Cookie, token string) (*page, error) {
	q, err := a.sso.Question(ctx, cookies, token)
	if err != nil {
		return nil, err
	}
	return &page{Page: q.Page, Action: sso.NextPath, Next: q.Leads, Hidden: map[string]string{"token": token}}, nil
}

// answer takes the form of a question. Who has chosen a name that cannot be
// had is asked again.
func (a *ssoAPI) answer(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	if err := r.ParseForm(); err != nil {
		return matrix.InvalidParam("The form could not be read.")
	}
	token := r.PostForm.Get("token")
	next, err := a.sso.Answer(r.Context(), r.Cookies(), token, r.PostForm)
	if err == nil {
		return a.follow(w, r, next, http.StatusSeeOther)
	}
	p, gone := a.questionPage(r.Context(), r.Cookies(), token)
	if gone != nil || matrix.Code(err) == "" {
		return err
	}
	for i := range p.Fields {
		p.Fields[i].Value = r.PostForm.Get(p.Fields[i].Name)
	}
	return p.explain(w, err)
}
