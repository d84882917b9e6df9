package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The stages of user-interactive authentication that this server knows.
const (
	StagePassword          = "m.login.password"
	StageDummy             = "m.login.dummy"
	StageRegistrationToken = "m.login.registration_token"
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
		op.Flows = append(op.Flows, []string{StageDummy})
	}
	if len(s.options.RegistrationTokens) > 0 {
		op.Flows = append(op.Flows, []string{StageRegistrationToken})
	}
	if op.Flows == nil {
		return op, registrationClosed()
	}
	return op, nil
}

// A Challenge is the answer to a request that is not authenticated enough: what
// stages there are, and which of them are done. It is an error with a response
// of its own.
type Challenge struct {
	Code      string         `json:"errcode,omitempty"` // of the stage that failed
	Message   string         `json:"error,omitempty"`
	Completed []string       `json:"completed,omitempty"`
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

// authData is the auth member of a request; which others it has depends on the
// stage. User is how clients of before r0.4 name themselves.
type authData struct {
	Type       string      `json:"type"`
	Session    string      `json:"session"`
	Identifier *Identifier `json:"identifier"`
	User       string      `json:"user"`
	Password   string      `json:"password"`
	Token      string      `json:"token"`
}

// Confirm takes the auth member of a request, possibly absent. It returns nil
// once all stages of a flow are complete; until then a [Challenge], or another
// error that ends the operation.
func (s *Service) Confirm(ctx context.Context, op Operation, auth json.RawMessage) error {
	var data authData
	if len(auth) > 0 {
		if err := json.Unmarshal(auth, &data); err != nil {
			return matrix.BadJSON("auth is malformed.")
		}
	}
	session, completed, err := s.resume(ctx, op, data.Session)
	if err != nil {
		return err
	}
	if data.Type != "" && !slices.Contains(completed, data.Type) {
		if err := s.stage(ctx, op, completed, data); err != nil {
			var m *matrix.Error
			if errors.As(err, &m) && m.Status == http.StatusUnauthorized {
				return challenge(op, session, completed, m)
			}
			return err
		}
		completed = append(completed, data.Type)
		if op.complete(completed) {
			return s.finish(ctx, op, session)
		}
		if err := s.saveSession(ctx, session, completed); err != nil {
			return err
		}
	} else if op.complete(completed) {
		return s.finish(ctx, op, session)
	}
	return challenge(op, session, completed, nil)
}

func challenge(op Operation, session string, completed []string, why *matrix.Error) *Challenge {
	c := &Challenge{Session: session, Completed: completed, Params: map[string]any{}}
	for _, stages := range op.Flows {
		c.Flows = append(c.Flows, Flow{Stages: stages})
	}
	if why != nil {
		c.Code, c.Message = why.Code, why.Message
	}
	return c
}

// stage runs one stage. Failures that the client may try again have the
// status 401; others end the operation.
func (s *Service) stage(ctx context.Context, op Operation, completed []string, data authData) error {
	if !op.next(completed, data.Type) {
		return retry("M_FORBIDDEN", "That stage is not one of those that come next.")
	}
	switch data.Type {
	case StagePassword:
		return s.passwordStage(ctx, op, data)
	case StageRegistrationToken:
		if !contains(s.options.RegistrationTokens, data.Token) {
			return retry("M_UNAUTHORIZED", "That registration token is not valid.")
		}
	}
	return nil // StageDummy asks for nothing
}

func (s *Service) passwordStage(ctx context.Context, op Operation, data authData) error {
	user, err := s.identify(ctx, data.Identifier, data.User, "")
	if err != nil {
		return err
	}
	if user != op.User {
		return matrix.Forbidden("The password must be that of %s.", op.User)
	}
	err = s.checkPassword(ctx, user, data.Password)
	if matrix.Code(err) == "M_FORBIDDEN" {
		return retry("M_FORBIDDEN", "The password is wrong.")
	}
	return err
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

// several reports whether a session can be between two stages.
func (op Operation) several() bool {
	return slices.ContainsFunc(op.Flows, func(stages []string) bool { return len(stages) > 1 })
}

// resume finds what a session has completed. A session ID that is not ours,
// too old or of another operation is as good as none: a new one begins, so
// that a client that gives all it has at once need not ask first.
//
// The ID vouches for itself; nothing is stored before a stage is complete, so
// that asking for sessions fills no table.
func (s *Service) resume(ctx context.Context, op Operation, session string) (string, []string, error) {
	started, ok := s.verifySession(op, session)
	if !ok {
		return s.newSession(op), nil, nil
	}
	if !op.several() {
		return session, nil, nil
	}
	saved, err := s.options.Store.Sessions.Completed(ctx, session, started)
	if err != nil || saved == "" {
		return session, nil, err
	}
	var completed []string
	err = json.Unmarshal([]byte(saved), &completed)
	return session, completed, err
}

const sessionPayload = 16 // bytes: 8 of time, 8 at random

func (s *Service) newSession(op Operation) string {
	payload := make([]byte, sessionPayload, sessionPayload+sha256.Size)
	binary.BigEndian.PutUint64(payload, uint64(s.now()))
	_, _ = rand.Read(payload[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(append(payload, s.sessionMAC(op, payload)...))
}

// verifySession is when a session began, Unix ms.
func (s *Service) verifySession(op Operation, session string) (started int64, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(session)
	if err != nil || len(raw) != sessionPayload+sha256.Size || !hmac.Equal(raw[sessionPayload:], s.sessionMAC(op, raw[:sessionPayload])) {
		return 0, false
	}
	started = int64(binary.BigEndian.Uint64(raw))
	return started, s.now()-started < sessionLifetime.Milliseconds()
}

func (s *Service) sessionMAC(op Operation, payload []byte) []byte {
	mac := hmac.New(sha256.New, s.options.Secret)
	for _, part := range []string{"uia", op.Name, string(op.User), string(payload)} {
		_ = binary.Write(mac, binary.BigEndian, uint32(len(part)))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}

func (s *Service) saveSession(ctx context.Context, session string, completed []string) error {
	list, err := json.Marshal(completed)
	if err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.Sessions.Save(ctx, tx, session, string(list), s.now())
	})
}

func (s *Service) finish(ctx context.Context, op Operation, session string) error {
	if !op.several() {
		return nil
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.Sessions.Delete(ctx, tx, session, s.now()-sessionLifetime.Milliseconds())
	})
}
