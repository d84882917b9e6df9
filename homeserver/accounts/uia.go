package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"trestle/internal/matrix"
)

// sessionLifetime is how long a client may take for all stages.
const sessionLifetime = 24 * time.Hour

// An Operation is something that wants user-interactive authentication
// (Client-Server API § User-Interactive Authentication API).
type Operation struct {
	Name  string        // sessions of one operation are no good for another
	User  matrix.UserID // who must prove to be who they are; empty for registration
	Flows [][]string    // each a list of stages, to be completed in order
}

// ConfirmPassword is the operation of a user who has to give their password.
func ConfirmPassword(name string, user matrix.UserID) Operation {
	return Operation{Name: name, User: user, Flows: [][]string{{StagePassword}}}
}

// RegistrationOperation is the operation of registering; M_FORBIDDEN where
// nobody can.
func (s *Service) RegistrationOperation() (Operation, error) {
	op := Operation{Name: "register"}
	if s.options.OpenRegistration {
		op.Flows = append(op.Flows, s.registrationFlows(nil)...)
	}
	if s.takesTokens() {
		op.Flows = append(op.Flows, s.registrationFlows([]string{StageRegistrationToken})...)
	}
	if op.Flows == nil {
		return op, registrationClosed()
	}
	return op, nil
}

// Whether people give a mail address when they register.
const (
	EmailOff      = "off"
	EmailOptional = "optional"
	EmailRequired = "required"
)

// registrationFlows are the ways to register that begin with some stages.
func (s *Service) registrationFlows(first []string) [][]string {
	stages := slices.Clone(first)
	if s.options.Captcha != nil && len(first) == 0 {
		stages = append(stages, StageCaptcha)
	}
	if len(s.options.Terms) > 0 {
		stages = append(stages, StageTerms)
	}
	var flows [][]string
	if s.options.EmailAtStart != EmailRequired {
		without := slices.Clone(stages)
		if len(stages) == 0 || s.options.EmailAtStart == EmailOptional {
			// Otherwise who gives an address would be done before giving it (Client-Server API § Dummy Auth).
			without = append(without, StageDummy)
		}
		flows = append(flows, without)
	}
	if s.options.EmailAtStart == EmailRequired || s.options.EmailAtStart == EmailOptional {
		flows = append(flows, append(slices.Clone(stages), StageEmail))
	}
	return flows
}

// A Challenge is the answer to a request that is not authenticated enough: what
// stages there are, and which of them are done. It is an error with a response
// of its own.
type Challenge struct {
	Code      string         `json:"errcode,omitempty"` // of the stage that failed
	Message   string         `json:"error,omitempty"`
	Completed []string       `json:"completed,omitzero"`
	Flows     []Flow         `json:"flows"`
	Params    map[string]any `json:"params"`
	Session   string         `json:"session"`
}

// A Flow is one way through the stages.
type Flow struct {
	Stages []string `json:"stages"`
}

func (c *Challenge) Error() string { return "user-interactive authentication is not complete" }

// Answer is the response.
func (c *Challenge) Answer() (status int, body any) { return http.StatusUnauthorized, c }

// authData is what all auth members of requests have; the rest depends on the
// stage.
type authData struct {
	Type    string `json:"type"`
	Session string `json:"session"`
}

// Proofs are what stages have found out that the operation goes on to use, by
// stage: the session of a verified address, for instance.
type Proofs map[string]string

// Confirm is [Service.Prove] for operations to which it does not matter by
// which stages they were confirmed.
func (s *Service) Confirm(ctx context.Context, op Operation, auth json.RawMessage) error {
	_, err := s.Prove(ctx, op, auth, "")
	return err
}

// Prove takes the auth member of a request, possibly absent. It returns what
// was proved once all stages of a flow are complete; until then its error is a
// [Challenge], or another one that ends the operation.
func (s *Service) Prove(ctx context.Context, op Operation, auth json.RawMessage, remoteAddr string) (Proofs, error) {
	var data authData
	if len(auth) > 0 {
		if err := json.Unmarshal(auth, &data); err != nil {
			return nil, matrix.BadJSON("auth is malformed.")
		}
	}
	op, err := s.offered(ctx, op)
	if err != nil {
		return nil, err
	}
	session, state, err := s.resume(ctx, op, data.Session)
	if err != nil {
		return nil, err
	}
	if state.mailed, err = s.mailed(ctx, op, session, state); err != nil {
		return nil, err
	}
	failed := state.takePages(op)
	if data.Type != "" && !slices.Contains(state.Completed, data.Type) {
		proof, err := s.stage(ctx, op, state, Attempt{Operation: op, Session: session, Auth: auth, RemoteAddr: remoteAddr})
		var m *matrix.Error
		switch {
		case err == nil:
			state.complete(data.Type, proof)
			failed = state.takePages(op)
		case errors.As(err, &m) && m.Status == http.StatusUnauthorized:
			failed = m
		default:
			return nil, err
		}
	}
	if op.complete(state.Completed) {
		return state.Proofs, s.finish(ctx, op, session, state)
	}
	if saved, err := s.saveSession(ctx, session, state); err != nil {
		return nil, err
	} else if !saved {
		// What another request has made of the session counts, and not what this one would.
		if _, state, err = s.resume(ctx, op, session); err != nil {
			return nil, err
		}
	}
	return nil, s.challenge(op, session, state.Completed, failed)
}

// offered is the operation with the flows by which the user can confirm it
// besides those that it came with. Who has other ways and no password is not
// asked for one.
func (s *Service) offered(ctx context.Context, op Operation) (Operation, error) {
	if op.User == "" {
		return op, nil
	}
	own := len(op.Flows)
	for _, stage := range s.stageOrder {
		confirmer, ok := s.stages[stage].(UserStage)
		if !ok {
			continue
		}
		if yes, err := confirmer.Confirms(ctx, op); err != nil {
			return op, err
		} else if yes {
			op.Flows = append(slices.Clip(op.Flows), []string{stage})
		}
	}
	if len(op.Flows) == own {
		return op, nil
	}
	account, err := s.account(ctx, op.User)
	if err != nil || account == nil || account.HasPassword {
		return op, err
	}
	op.Flows = slices.DeleteFunc(slices.Clone(op.Flows), func(stages []string) bool { return slices.Contains(stages, StagePassword) })
	return op, nil
}

func (s *Service) challenge(op Operation, session string, completed []string, why *matrix.Error) *Challenge {
	c := &Challenge{Session: session, Completed: completed, Params: map[string]any{}}
	for _, stages := range op.Flows {
		c.Flows = append(c.Flows, Flow{Stages: stages})
		for _, name := range stages {
			if stage := s.stages[name]; stage != nil {
				if params := stage.Params(op, session); params != nil {
					c.Params[name] = params
				}
			}
		}
	}
	if why != nil {
		c.Code, c.Message = why.Code, why.Message
		c.Completed = append([]string{}, completed...) // after an attempt it is there, be it empty
	}
	return c
}

// stage runs one stage. Failures that the client may try again have the
// status 401; others end the operation.
func (s *Service) stage(ctx context.Context, op Operation, state *sessionState, a Attempt) (string, error) {
	var data authData
	if err := json.Unmarshal(a.Auth, &data); err != nil {
		return "", matrix.BadJSON("auth is malformed.")
	}
	stage := s.stages[data.Type]
	if stage == nil || !op.next(state.Completed, data.Type) {
		return "", retry("M_FORBIDDEN", "That stage is not one of those that come next.")
	}
	return stage.Check(ctx, a)
}

func retry(code, message string) *matrix.Error {
	return matrix.NewError(http.StatusUnauthorized, code, "%s", message)
}

func (op Operation) complete(completed []string) bool {
	return slices.ContainsFunc(op.Flows, func(stages []string) bool { return slices.Equal(stages, completed) })
}

// next reports whether a stage follows upon the completed ones in some flow.
func (op Operation) next(completed []string, stage string) bool {
	n := len(completed)
	return slices.ContainsFunc(op.Flows, func(stages []string) bool {
		return len(stages) > n && slices.Equal(stages[:n], completed) && stages[n] == stage
	})
}
