package accounts

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// sessionState is what a session of user-interactive authentication has got to.
type sessionState struct {
	Completed []string `json:"completed"`
	Proofs    Proofs   `json:"proofs,omitempty"`
	// Pages are the stages that were completed in a browser, and that the
	// client has not come back for: with the user who did it, if the stage
	// tells.
	Pages map[string]matrix.UserID `json:"pages,omitempty"`
	// PageProofs are what these have found out.
	PageProofs map[string]string `json:"page_proofs,omitempty"`
	// Mail is the ID of the session of the mail that the page of [StageEmail] has sent.
	Mail string `json:"mail,omitempty"`

	mailed bool   // the address of that mail is verified
	before string // as it is stored
}

func (st *sessionState) complete(stage, proof string) {
	st.Completed = append(st.Completed, stage)
	if proof != "" {
		if st.Proofs == nil {
			st.Proofs = Proofs{}
		}
		st.Proofs[stage] = proof
	}
}

// takePages completes the stages that pages have completed. A page at which
// somebody else has proved who they are counts for nothing.
func (st *sessionState) takePages(op Operation) *matrix.Error {
	var failed *matrix.Error
	for again := true; again; {
		again = false
		for stage, user := range st.Pages {
			switch {
			case !op.next(st.Completed, stage):
				continue
			case op.User != user:
				failed = retry("M_FORBIDDEN", "Somebody else has logged in on the page.")
			default:
				st.complete(stage, cmp.Or(st.PageProofs[stage], "page"))
				again = true
			}
			delete(st.Pages, stage)
			delete(st.PageProofs, stage)
			break
		}
		if st.mailed && op.next(st.Completed, StageEmail) {
			st.complete(StageEmail, st.Mail)
			again = true
		}
	}
	return failed
}

// CompleteStage notes that a stage of a session was completed in a browser.
// The user is who has proved to be who they are there, empty for stages that
// do not tell. The client goes on with the session as if it had done it.
func (s *Service) CompleteStage(ctx context.Context, session, stage string, user matrix.UserID) error {
	return s.completeStage(ctx, session, stage, user, "")
}

// CompletePage is [Service.CompleteStage] by a form that [PageStage.Submit] has
// found to be good.
func (s *Service) CompletePage(ctx context.Context, session string, stage PageStage, user matrix.UserID, form url.Values) error {
	return s.completeStage(ctx, session, stage.Name(), user, pageProof(stage, form))
}

func (s *Service) completeStage(ctx context.Context, session, stage string, user matrix.UserID, proof string) error {
	return s.change(ctx, session, func(state *sessionState) bool {
		if slices.Contains(state.Completed, stage) {
			return false
		}
		if state.Pages == nil {
			state.Pages = map[string]matrix.UserID{}
		}
		state.Pages[stage] = user
		if state.PageProofs == nil {
			state.PageProofs = map[string]string{}
		}
		state.PageProofs[stage] = proof
		return true
	})
}

// change notes something about a session, unless note reports that there is
// nothing to note.
func (s *Service) change(ctx context.Context, session string, note func(*sessionState) bool) error {
	started, _, ok := s.openSession(session)
	if !ok {
		return noSuchSession()
	}
	for range maxTries {
		state, err := s.loadState(ctx, session, started)
		if err != nil || !note(state) {
			return err
		}
		if saved, err := s.saveSession(ctx, session, state); err != nil || saved {
			return err
		}
	}
	return matrix.LimitExceeded(time.Second)
}

// maxTries is how often a page is noted whose session others change at the same time.
const maxTries = 10

// ValidSession is M_UNKNOWN for what is no session of user-interactive
// authentication, or one that is too old.
func (s *Service) ValidSession(session string) error {
	if _, _, ok := s.openSession(session); !ok {
		return noSuchSession()
	}
	return nil
}

func noSuchSession() error {
	return matrix.InvalidParam("The session is unknown or too old.")
}

// resume finds what a session has completed. A session ID that is not ours,
// too old or of another operation is as good as none: a new one begins, so
// that a client that gives all it has at once need not ask first.
//
// The ID vouches for itself; nothing is stored before a stage is complete, so
// that asking for sessions fills no table.
func (s *Service) resume(ctx context.Context, op Operation, session string) (string, *sessionState, error) {
	started, of, ok := s.openSession(session)
	if !ok || of != operationHash(op) {
		return s.newSession(op), new(sessionState), nil
	}
	state, err := s.loadState(ctx, session, started)
	return session, state, err
}

func (s *Service) loadState(ctx context.Context, session string, started int64) (*sessionState, error) {
	saved, err := s.options.Store.Sessions.Completed(ctx, session, started)
	if err != nil || saved == "" {
		return new(sessionState), err
	}
	state := new(sessionState)
	if json.Unmarshal([]byte(saved), state) != nil {
		return &sessionState{before: saved}, nil // written by an older version
	}
	state.before = saved
	return state, nil
}

// SessionOf reports whether a session is of an operation of that user.
func (s *Service) SessionOf(session string, user matrix.UserID) bool {
	_, of, ok := s.openSession(session)
	return ok && of.user == userHash(user)
}

// A session's ID: when it began, chance, which operation of whom it is of, and
// a MAC.
const (
	sessionRandom    = 8
	sessionOperation = 16
	sessionUser      = 8
	sessionPayload   = 8 + sessionRandom + sessionOperation + sessionUser
)

// An opHash tells operations apart, and whose they are.
type opHash struct {
	operation [sessionOperation]byte
	user      [sessionUser]byte
}

func userHash(user matrix.UserID) (short [sessionUser]byte) {
	hash := sha256.Sum256([]byte(user))
	copy(short[:], hash[:])
	return short
}

func operationHash(op Operation) opHash {
	hash := sha256.New()
	for _, part := range []string{op.Name, string(op.User)} {
		_ = binary.Write(hash, binary.BigEndian, uint32(len(part)))
		hash.Write([]byte(part))
	}
	of := opHash{user: userHash(op.User)}
	copy(of.operation[:], hash.Sum(nil))
	return of
}

func (s *Service) newSession(op Operation) string {
	payload := make([]byte, 8+sessionRandom, sessionPayload+sha256.Size)
	binary.BigEndian.PutUint64(payload, uint64(s.now()))
	_, _ = rand.Read(payload[8:]) // never fails
	of := operationHash(op)
	payload = append(append(payload, of.operation[:]...), of.user[:]...)
	return base64.RawURLEncoding.EncodeToString(append(payload, s.sessionMAC(payload)...))
}

// openSession is when a session began, Unix ms, and what it is of.
func (s *Service) openSession(session string) (started int64, of opHash, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(session)
	if err != nil || len(raw) != sessionPayload+sha256.Size || !hmac.Equal(raw[sessionPayload:], s.sessionMAC(raw[:sessionPayload])) {
		return 0, of, false
	}
	started = int64(binary.BigEndian.Uint64(raw))
	copy(of.operation[:], raw[8+sessionRandom:])
	copy(of.user[:], raw[8+sessionRandom+sessionOperation:])
	return started, of, s.now()-started < sessionLifetime.Milliseconds()
}

func (s *Service) sessionMAC(payload []byte) []byte {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("uia\x00"))
	mac.Write(payload)
	return mac.Sum(nil)
}

// saveSession stores a session that has got further, and reports false if it got somewhere else
// meanwhile.
func (s *Service) saveSession(ctx context.Context, session string, state *sessionState) (saved bool, err error) {
	raw, err := json.Marshal(state)
	if err != nil {
		return false, err
	}
	empty := len(state.Completed)+len(state.Pages) == 0 && state.Mail == ""
	if string(raw) == state.before || empty && state.before == "" {
		return true, nil
	}
	store := s.options.Store.Sessions
	err = s.options.DB.Update(ctx, func(tx *database.Tx) (err error) {
		if state.before == "" {
			saved, err = store.Begin(ctx, tx, session, string(raw), s.now())
		} else {
			saved, err = store.Advance(ctx, tx, session, state.before, string(raw))
		}
		return err
	})
	return saved, err
}

// finish uses a session up. What it has completed is good for one request: another one that
// comes at the same time begins anew.
func (s *Service) finish(ctx context.Context, op Operation, session string, state *sessionState) error {
	if state.before == "" {
		return nil
	}
	var there bool
	err := s.options.DB.Update(ctx, func(tx *database.Tx) (err error) {
		there, err = s.options.Store.Sessions.Delete(ctx, tx, session, s.now()-sessionLifetime.Milliseconds())
		return err
	})
	if err == nil && !there {
		return s.challenge(op, session, nil, nil)
	}
	return err
}
