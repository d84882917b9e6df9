package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/browsers"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// oauthAPI is the OAuth 2.0 API: what applications ask, and the pages for
// their users.
type oauthAPI struct {
	oauth    *oauth.Service
	accounts *accounts.Service
	secure   bool // browsers reach the server by https
}

// pageCookie is that of the OAuth pages. It comes along with links from elsewhere.
var pageCookie = browsers.Cookie{
	Name: "trestle", Seconds: int(oauth.BrowserLifetime.Seconds()), SameSite: http.SameSiteLaxMode,
}

// OAuthRoutes are the endpoints and pages of the OAuth 2.0 API; none without
// the service.
func OAuthRoutes(service *oauth.Service, accounts *accounts.Service) []api.Route {
	if service == nil {
		return nil
	}
	a := &oauthAPI{oauth: service, accounts: accounts, secure: strings.HasPrefix(strings.ToLower(service.URL("")), "https:")}
	return append(a.routes(), a.pageRoutes()...)
}

// maxOAuth bounds what applications send, in bytes.
const maxOAuth = 64 << 10

func (a *oauthAPI) routes() []api.Route {
	body, explain := api.BodyLimit(maxOAuth), api.Errors(oauthErrors)
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v1/auth_metadata", api.None, a.metadata,
			api.Aliases("/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
				"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")),
		api.Endpoint("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", api.None, a.issuer),
		api.Endpoint("GET", oauth.KeysPath, api.None, a.keys),
		api.Raw("POST", oauth.RegisterPath, api.None, a.register, api.Limit("register"), body, explain),
		api.Raw("POST", oauth.TokenPath, api.None, a.token, body, explain),
		api.Raw("POST", oauth.RevokePath, api.None, a.revoke, body, explain),
		api.Raw("POST", oauth.DevicePath, api.None, a.device, api.Limit("login"), body, explain),
	}
}

func (a *oauthAPI) metadata(context.Context, api.Caller, *struct{}) (*oauth.Metadata, error) {
	return a.oauth.Metadata(), nil
}

func (a *oauthAPI) keys(context.Context, api.Caller, *struct{}) (*oauth.Keys, error) {
	return a.oauth.Keys(), nil
}

type issuerResponse struct {
	Issuer string `json:"issuer"`
}

// issuer is how clients found the metadata at first (MSC2965).
func (a *oauthAPI) issuer(context.Context, api.Caller, *struct{}) (*issuerResponse, error) {
	return &issuerResponse{a.oauth.Issuer()}, nil
}

// answerOAuth answers with JSON that nobody may keep (RFC 6749 § 5.1).
func answerOAuth(w http.ResponseWriter, status int, answer any) error {
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	return api.WriteJSON(w, status, raw)
}

// oauthErrors answers errors of this server as those of OAuth, which its
// clients understand. There is no code for too many requests but that of RFC
// 6749 § 4.1.2.1 for a server that is busy.
func oauthErrors(w http.ResponseWriter, _ *http.Request, err error) error {
	var known *matrix.Error
	var mistake *oauth.Error
	if errors.As(err, &mistake) || !errors.As(err, &known) {
		return err
	}
	answer := oauth.Error{Code: "invalid_request", Description: known.Message}
	switch {
	case known.Status == http.StatusTooManyRequests:
		answer.Code = "temporarily_unavailable"
	case known.Status >= http.StatusInternalServerError:
		answer.Code = "server_error"
	}
	for name, values := range known.Header {
		w.Header()[name] = values
	}
	return answerOAuth(w, known.Status, &answer)
}

type clientResponse struct {
	ID string `json:"client_id"`
	*oauth.Client
}

func (a *oauthAPI) register(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	metadata, err := io.ReadAll(r.Body)
	if err != nil {
		return &oauth.Error{Code: "invalid_client_metadata", Description: "The metadata is too large, or could not be read."}
	}
	id, client, err := a.oauth.Register(r.Context(), metadata)
	if err != nil {
		return err
	}
	return answerOAuth(w, http.StatusCreated, clientResponse{id, client})
}

// readParameters reads the form that an application sends. It may name itself
// in the header Authorization, too; it has no password to go with the name.
func readParameters(w http.ResponseWriter, r *http.Request) (oauth.Parameters, error) {
	wrong := func(description string) error { return &oauth.Error{Code: "invalid_request", Description: description} }
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, wrong("The request has to be a form, application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, wrong("The form is too large, or could not be read.")
	}
	p, err := oauth.ParseParameters(string(body))
	if err != nil {
		return nil, err
	}
	if name, password, ok := r.BasicAuth(); ok {
		name, err := url.QueryUnescape(name)
		if err != nil || password != "" || p["client_id"] != "" && p["client_id"] != name {
			w.Header().Set("WWW-Authenticate", `Basic realm="OAuth clients"`)
			return nil, &oauth.Error{Code: "invalid_client", Description: "Clients have no secrets here, and one name."}
		}
		p["client_id"] = strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), "")
	}
	return p, nil
}

func (a *oauthAPI) token(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	p, err := readParameters(w, r)
	if err != nil {
		return err
	}
	tokens, err := a.oauth.Token(r.Context(), p)
	if err != nil {
		w.Header().Set("Cache-Control", "no-store")
		return err
	}
	return answerOAuth(w, http.StatusOK, tokens)
}

func (a *oauthAPI) revoke(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	p, err := readParameters(w, r)
	if err != nil {
		return err
	}
	if err := a.oauth.Revoke(r.Context(), p); err != nil {
		return err
	}
	return answerOAuth(w, http.StatusOK, struct{}{})
}

func (a *oauthAPI) device(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	p, err := readParameters(w, r)
	if err != nil {
		return err
	}
	waiting, err := a.oauth.AuthorizeDevice(r.Context(), p)
	if err != nil {
		return err
	}
	return answerOAuth(w, http.StatusOK, waiting)
}
