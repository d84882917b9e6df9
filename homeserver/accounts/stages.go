package accounts

import (
	"context"
	"encoding/json"
	"net/url"

	"trestle/internal/matrix"
)

// The stages of user-interactive authentication.
const (
	StagePassword          = "m.login.password"
	StageDummy             = "m.login.dummy"
	StageRegistrationToken = "m.login.registration_token"
	StageTerms             = "m.login.terms"
	StageCaptcha           = "m.login.recaptcha"
	StageEmail             = "m.login.email.identity"
)

// A Stage is one step of user-interactive authentication. [Service.AddStage]
// makes it known.
type Stage interface {
	// Name is what clients call it.
	Name() string
	// Params is what clients are told beforehand; nil: nothing.
	Params(op Operation, session string) any
	// Check holds what a client says against the stage. The proof is for the
	// operation. Errors with the status 401 let the client try again; others
	// end the operation.
	Check(ctx context.Context, a Attempt) (proof string, err error)
}

// A UserStage is a [Stage] by which users can confirm operations, besides by
// their password: where they have logged in elsewhere, for instance.
type UserStage interface {
	Stage
	Confirms(ctx context.Context, op Operation) (bool, error)
}

// A PageStage is a [Stage] that can be completed in a browser as well.
type PageStage interface {
	Stage
	Page(session string) Page
	// Submit holds what was sent from the page against the stage; the user is
	// who has proved to be who they are, if the stage asks that.
	Submit(ctx context.Context, form url.Values, remoteAddr string) (matrix.UserID, error)
}

// A provingStage is a [PageStage] whose form the operation goes on to use.
type provingStage interface {
	Proof(form url.Values) string
}

// pageProof is what a stage has found out by a form that was good.
func pageProof(stage PageStage, form url.Values) string {
	if proving, ok := stage.(provingStage); ok {
		return proving.Proof(form)
	}
	return "page"
}

// A Page is what a browser shows for a stage.
type Page struct {
	Redirect string // elsewhere; the other members do not matter then

	Title    string
	Text     string
	Links    []Document
	Fields   []Field
	Captcha  *CaptchaOptions
	Agree    string // a box to tick
	Continue string // the button; default "Continue"
}

// A Field is something to type in.
type Field struct {
	Name, Label string
	Secret      bool
	Completes   string // the kind of thing, for browsers that fill in forms
	Value       string // what is there already
	Optional    bool
}

// An Attempt is what a client says to get a stage done.
type Attempt struct {
	Operation  Operation
	Session    string
	Auth       json.RawMessage // the auth member of the request
	RemoteAddr string
}

// read decodes the members that a stage has.
func (a Attempt) read(into any) error {
	if json.Unmarshal(a.Auth, into) != nil {
		return matrix.BadJSON("auth is malformed.")
	}
	return nil
}

// AddStage makes a stage known; it is part of the wiring.
func (s *Service) AddStage(stage Stage) {
	name := stage.Name()
	if s.stages[name] == nil {
		s.stageOrder = append(s.stageOrder, name)
	}
	s.stages[name] = stage
}

// addStages makes the stages known that need nothing but the accounts.
func (s *Service) addStages() {
	s.stages = map[string]Stage{}
	s.AddStage(dummyStage{})
	s.AddStage(passwordStage{s})
	s.AddStage(registrationTokenStage{s})
	s.AddStage(emailStage{s})
	if len(s.options.Terms) > 0 {
		s.AddStage(termsStage{s.options.Terms})
	}
	if s.options.Captcha != nil {
		s.AddStage(captchaStage{s.options.Captcha})
	}
}

// Page is a stage that can be completed in a browser, or M_NOT_FOUND.
func (s *Service) PageStage(name string) (PageStage, error) {
	stage, ok := s.stages[name].(PageStage)
	if !ok {
		return nil, matrix.NotFound("There is no page for %.80q.", name)
	}
	return stage, nil
}

// dummyStage asks for nothing: a place for clients to stop at.
type dummyStage struct{}

func (dummyStage) Name() string                                   { return StageDummy }
func (dummyStage) Params(Operation, string) any                   { return nil }
func (dummyStage) Check(context.Context, Attempt) (string, error) { return "", nil }

func (dummyStage) Page(string) Page {
	return Page{Title: "Continue", Text: "There is nothing to do here but to go on."}
}

func (dummyStage) Submit(context.Context, url.Values, string) (matrix.UserID, error) { return "", nil }

// passwordStage is the password of the user whose operation it is.
type passwordStage struct{ accounts *Service }

func (passwordStage) Name() string                 { return StagePassword }
func (passwordStage) Params(Operation, string) any { return nil }

// Check reads, besides the identifier, the member by which clients of before
// r0.4 name themselves.
func (p passwordStage) Check(ctx context.Context, a Attempt) (string, error) {
	var auth struct {
		Identifier *Identifier `json:"identifier"`
		User       string      `json:"user"`
		Medium     string      `json:"medium"`
		Address    string      `json:"address"`
		Password   string      `json:"password"`
	}
	if err := a.read(&auth); err != nil {
		return "", err
	}
	login := PasswordLogin{Identifier: auth.Identifier, User: auth.User, Medium: auth.Medium, Address: auth.Address}
	user, err := p.accounts.identify(ctx, login)
	if err != nil {
		return "", err
	}
	if user != a.Operation.User {
		return "", matrix.Forbidden("The password must be that of %s.", a.Operation.User)
	}
	err = p.accounts.checkPassword(ctx, user, auth.Password)
	if matrix.Code(err) == "M_FORBIDDEN" {
		return "", retry("M_FORBIDDEN", "The password is wrong.")
	}
	return "", err
}

func (passwordStage) Page(string) Page {
	return Page{Title: "Confirm that it is you", Text: "Enter your user name and your password.", Fields: []Field{
		{Name: "user", Label: "User name", Completes: "username"},
		{Name: "password", Label: "Password", Secret: true, Completes: "current-password"},
	}}
}

func (p passwordStage) Submit(ctx context.Context, form url.Values, _ string) (matrix.UserID, error) {
	user, err := p.accounts.identify(ctx, PasswordLogin{User: form.Get("user")})
	if err != nil {
		return "", err
	}
	return user, p.accounts.checkPassword(ctx, user, form.Get("password"))
}

// registrationTokenStage is a token that the operator has given out.
type registrationTokenStage struct{ accounts *Service }

func (registrationTokenStage) Name() string                 { return StageRegistrationToken }
func (registrationTokenStage) Params(Operation, string) any { return nil }

func (t registrationTokenStage) Check(ctx context.Context, a Attempt) (string, error) {
	var auth struct {
		Token string `json:"token"`
	}
	if err := a.read(&auth); err != nil {
		return "", err
	}
	return auth.Token, t.accounts.checkTokenStage(ctx, auth.Token)
}

func (registrationTokenStage) Page(string) Page {
	return Page{Title: "Registration", Text: "This server wants a token from those who register.", Fields: []Field{
		{Name: "token", Label: "Token", Completes: "one-time-code"},
	}}
}

func (t registrationTokenStage) Submit(ctx context.Context, form url.Values, _ string) (matrix.UserID, error) {
	return "", t.accounts.checkTokenStage(ctx, form.Get("token"))
}

// Proof is the token, of which the account that comes of it takes a use.
func (registrationTokenStage) Proof(form url.Values) string { return form.Get("token") }
