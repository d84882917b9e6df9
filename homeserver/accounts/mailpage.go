package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A MailStage is how far a session has got with [StageEmail] in a browser. It
// is no [PageStage]: the stage is done when somebody has followed the link in a
// mail, wherever that is.
type MailStage struct {
	Purpose string        // [ForRegistration] or [ForPassword]
	Address string        // to which a mail was sent; empty: none yet
	Waited  time.Duration // since then
	Done    bool
}

// MailStage is how far a session has got: M_NOT_FOUND where nobody can give an
// address, M_INVALID_PARAM for a session that is unknown, too old, or of an
// operation that does not want one.
func (s *Service) MailStage(ctx context.Context, session string) (MailStage, error) {
	op, err := s.mailOperation(session)
	if err != nil {
		return MailStage{}, err
	}
	stage := MailStage{Purpose: op.mailPurpose()}
	_, state, err := s.resume(ctx, op, session)
	if err != nil {
		return stage, err
	}
	if slices.Contains(state.Completed, StageEmail) {
		stage.Done = true
		return stage, nil
	}
	sent, err := s.sentMail(ctx, op, session, state)
	if err != nil || sent == nil {
		return stage, err
	}
	stage.Address, stage.Done = sent.Address, sent.ValidatedAt != 0
	stage.Waited = time.Duration(s.now()-sent.CreatedAt) * time.Millisecond
	return stage, nil
}

// SendStageMail sends the mail of [StageEmail] to an address that somebody has
// typed in on a page: always, as nobody does so by accident. Errors are those of
// [Service.MailStage] and [Service.RequestEmail].
func (s *Service) SendStageMail(ctx context.Context, session, address string) error {
	stage, err := s.MailStage(ctx, session)
	if err != nil || stage.Done {
		return err
	}
	sid, err := s.RequestEmail(ctx, EmailRequest{
		Purpose: stage.Purpose, Email: address, ClientSecret: s.mailSecret(session), Attempt: s.now(),
	})
	if err != nil {
		return err
	}
	return s.change(ctx, session, func(state *sessionState) bool {
		state.Mail = sid
		return !slices.Contains(state.Completed, StageEmail)
	})
}

// mailOperation is the operation of a session, if that wants an address.
func (s *Service) mailOperation(session string) (Operation, error) {
	if !s.EmailEnabled() {
		return Operation{}, matrix.NotFound("This server does not send mails.")
	}
	_, of, ok := s.openSession(session)
	if !ok {
		return Operation{}, noSuchSession()
	}
	for _, operation := range []func() (Operation, error){s.RegistrationOperation, s.ResetOperation} {
		op, err := operation()
		if err != nil || of != operationHash(op) {
			continue
		}
		if slices.ContainsFunc(op.Flows, func(stages []string) bool { return slices.Contains(stages, StageEmail) }) {
			return op, nil
		}
	}
	return Operation{}, matrix.InvalidParam("The session wants no mail address.")
}

// mailSecret is the client secret of the mails of a session. Who reads such a
// mail does not learn the session from it.
func (s *Service) mailSecret(session string) string {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("uia mail\x00" + session))
	return hex.EncodeToString(mac.Sum(nil))
}

// sentMail is the session of the mail that the page has sent, or nil.
func (s *Service) sentMail(ctx context.Context, op Operation, session string, state *sessionState) (*storage.ThreePIDSession, error) {
	if state.Mail == "" {
		return nil, nil
	}
	sent, err := s.options.Store.ThreePID.Session(ctx, s.options.DB.Read(), state.Mail)
	if err != nil || sent == nil || sent.Purpose != op.mailPurpose() || !s.fresh(sent) || sent.ClientSecret != s.mailSecret(session) {
		return nil, err
	}
	return sent, nil
}

// mailed reports whether somebody has followed the link in that mail.
func (s *Service) mailed(ctx context.Context, op Operation, session string, state *sessionState) (bool, error) {
	sent, err := s.sentMail(ctx, op, session, state)
	return sent != nil && sent.ValidatedAt != 0, err
}
