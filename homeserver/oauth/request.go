package oauth

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// How the answer comes back to the client.
const (
	ModeQuery    = "query"
	ModeFragment = "fragment"
	ModeFormPost = "form_post"
)

// Bounds of what comes back as it was, in bytes.
const (
	maxState = 2048
	maxNonce = 255
)

// A Request is what a client asks a user for, by way of the user's browser
// (RFC 6749 § 4.1.1, RFC 7636 § 4.3).
type Request struct {
	ClientID  string
	Client    *Client
	Redirect  string
	Scope     Scope
	State     string
	Mode      string
	Challenge string
	Nonce     string // for the ID token
	Create    bool   // the user wants a new account
	Again     bool   // the user has to sign in once more
	Hint      string // who the client believes will sign in, or empty

	// Lasting is how long an application service may act; set by who allows it.
	Lasting time.Duration

	parameters Parameters
}

// A Refusal is an error that the client may be told, if the user goes back.
type Refusal struct {
	Request *Request
	Cause   *Error
}

func (r *Refusal) Error() string { return r.Cause.Error() }

// ParseRequest reads the query of an authorization request. Its errors are an
// [*Error] for the user alone, where it is not sure whose the redirect URI is,
// and a [*Refusal] otherwise.
func (s *Service) ParseRequest(ctx context.Context, query string) (*Request, error) {
	p, err := ParseParameters(query)
	if err != nil {
		return nil, err
	}
	client, err := s.Client(ctx, p["client_id"])
	if err != nil {
		return nil, err
	}
	r, err := client.Request(p)
	if err != nil {
		return nil, err
	}
	if err := s.known(r.Scope); err != nil {
		return nil, &Refusal{r, err}
	}
	return r, nil
}

// known is an error if a scope is about an application service that is not here.
func (s *Service) known(scope Scope) *Error {
	if scope.AppService == "" || s.options.Accounts.CheckAppService(scope.AppService) == nil {
		return nil
	}
	return invalidScope("There is no application service %.80q here.", scope.AppService)
}

// Request is what a client asks for with these parameters, which are in its
// name. The errors are those of [Service.ParseRequest].
func (c *Client) Request(p Parameters) (*Request, error) {
	r := &Request{ClientID: p["client_id"], Client: c, Redirect: p["redirect_uri"], State: p["state"], Mode: ModeQuery, parameters: p}
	if !c.MayRedirectTo(r.Redirect) {
		return nil, invalidRequest("The redirect URI is not one that the client has registered.")
	}
	if err := r.read(); err != nil {
		var cause *Error
		if errors.As(err, &cause) {
			return nil, &Refusal{r, cause}
		}
		return nil, err
	}
	return r, nil
}

// read holds the parameters against what there is here.
func (r *Request) read() error {
	p := r.parameters
	if len(r.State) > maxState {
		r.State = ""
		return invalidRequest("A state has at most %d bytes.", maxState)
	}
	if mode := p["response_mode"]; mode != "" {
		if !slices.Contains([]string{ModeQuery, ModeFragment, ModeFormPost}, mode) {
			return invalidRequest("There is no response mode %.40q here.", mode)
		}
		r.Mode = mode
	}
	switch {
	case p["request"] != "":
		return newError("request_not_supported", "Requests are not taken as objects.")
	case p["request_uri"] != "":
		return newError("request_uri_not_supported", "Requests are not fetched.")
	case len(p["nonce"]) > maxNonce:
		return invalidRequest("A nonce has at most %d bytes.", maxNonce)
	case r.Mode == ModeFormPost && !strings.HasPrefix(r.Redirect, "http"):
		return invalidRequest("Applications cannot be sent a form.")
	case p["response_type"] == "":
		return invalidRequest("The parameter response_type is missing.")
	case p["response_type"] != "code":
		return newError("unsupported_response_type", "There is no response type but code here.")
	case !r.Client.Allows(GrantCode):
		return newError("unauthorized_client", "The client has not registered for authorization codes.")
	case p["code_challenge_method"] != "S256":
		return invalidRequest("A code challenge of the method S256 is needed.")
	case !ValidChallenge(p["code_challenge"]):
		return invalidRequest("The code challenge is missing, or not one of the method S256.")
	}
	r.Challenge, r.Nonce = p["code_challenge"], p["nonce"]
	r.readHint(p["login_hint"])
	if err := r.readPrompt(p["prompt"]); err != nil {
		return err
	}
	var err error
	r.Scope, err = ParseScope(p["scope"])
	return err
}

// readPrompt reads what the user is to be shown (OpenID Connect Core § 3.1.2.1,
// OpenID Connect Prompt Create). Consent is asked for anyway.
func (r *Request) readPrompt(prompt string) error {
	prompts := strings.Fields(prompt)
	r.Create, r.Again = slices.Contains(prompts, "create"), slices.Contains(prompts, "login")
	if slices.Contains(prompts, "none") {
		if len(prompts) > 1 {
			return invalidRequest("The prompt none stands alone.")
		}
		return newError("interaction_required", "Users are always asked here.")
	}
	return nil
}

// readHint reads who will sign in (MSC4198), if that is what it says.
func (r *Request) readHint(hint string) {
	if user, ok := strings.CutPrefix(hint, "mxid:"); ok && len(user) <= 255 {
		r.Hint = user
	}
}

// Path is the request as a path of this server, for a browser to come back to
// when the user has signed in: what was done then is not asked for again.
func (r *Request) Path() string { return AuthorizePath + "?" + r.parameters.without("prompt") }

// Query is what the request was read from.
func (r *Request) Query() string { return r.parameters.without() }

// A Return is how a browser goes back to the client.
type Return struct {
	URL  string
	Form url.Values // to be sent to the URL, for the mode form_post; otherwise nil
}

// answer is how the browser brings the client an answer.
func (s *Service) answer(r *Request, values url.Values) Return {
	values.Set("iss", s.Issuer())
	if r.State != "" {
		values.Set("state", r.State)
	}
	switch {
	case r.Mode == ModeFormPost:
		return Return{r.Redirect, values}
	case r.Mode == ModeFragment:
		return Return{URL: r.Redirect + "#" + values.Encode()}
	case strings.Contains(r.Redirect, "?"):
		return Return{URL: strings.TrimRight(r.Redirect, "&") + "&" + values.Encode()}
	}
	return Return{URL: r.Redirect + "?" + values.Encode()}
}

// Deny is how the user goes back who does not allow it.
func (s *Service) Deny(r *Request) Return {
	return s.Refuse(&Refusal{r, newError("access_denied", "The user has not allowed it.")})
}

// Refuse is how the user goes back whose client has asked for what there is
// not.
func (s *Service) Refuse(r *Refusal) Return {
	return s.answer(r.Request, url.Values{"error": {r.Cause.Code}, "error_description": {ascii(r.Cause.Description)}})
}

// ascii keeps what an error_description may have (RFC 6749 § 4.1.2.1).
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '\''
		}
		return r
	}, text)
}
