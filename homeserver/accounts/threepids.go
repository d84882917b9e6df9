package accounts

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A ThreePID is an address of a user.
type ThreePID = storage.ThreePID

// ThreePIDs is the addresses of a user.
func (s *Service) ThreePIDs(ctx context.Context, user matrix.UserID) ([]ThreePID, error) {
	return s.options.Store.ThreePID.List(ctx, s.options.DB.Read(), user)
}

// AddThreePID gives a verified address to a user: M_THREEPID_AUTH_FAILED if it
// is not verified, M_THREEPID_IN_USE if it is somebody else's.
func (s *Service) AddThreePID(ctx context.Context, user matrix.UserID, sid, clientSecret string) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		session, err := s.verified(ctx, tx, sid, clientSecret, ForAdding)
		if err != nil {
			return err
		}
		return s.takeAddress(ctx, tx, user, session)
	})
}

// CheckVerified is M_THREEPID_AUTH_FAILED unless the address can be added.
func (s *Service) CheckVerified(ctx context.Context, sid, clientSecret string) error {
	_, err := s.verified(ctx, s.options.DB.Read(), sid, clientSecret, ForAdding)
	return err
}

// takeAddress uses a session up and gives its address to a user.
func (s *Service) takeAddress(ctx context.Context, tx *database.Tx, user matrix.UserID, session *storage.ThreePIDSession) error {
	store := s.options.Store.ThreePID
	owner, err := store.User(ctx, tx, session.Medium, session.Address)
	if err != nil {
		return err
	}
	if owner != "" && owner != user {
		return addressInUse()
	}
	if owner == "" {
		_, err := store.Insert(ctx, tx, ThreePID{
			Medium: session.Medium, Address: session.Address, UserID: user, ValidatedAt: session.ValidatedAt, AddedAt: s.now(),
		})
		if err != nil {
			return err
		}
	}
	_, err = store.DeleteSession(ctx, tx, session.SID)
	return err
}

// RemoveThreePID takes an address from a user, if it is theirs.
func (s *Service) RemoveThreePID(ctx context.Context, user matrix.UserID, medium, address string) error {
	if medium == Email {
		if canonical, err := CanonicalEmail(address); err == nil {
			address = canonical
		}
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		removed, err := s.options.Store.ThreePID.Delete(ctx, tx, medium, address, user)
		if err != nil || !removed {
			return err
		}
		for _, o := range s.observers.Addresses {
			if err := o.AddressRemoved(ctx, tx, user, medium, address); err != nil {
				return err
			}
		}
		return nil
	})
}

// userWithAddress is who has an address, or empty.
func (s *Service) userWithAddress(ctx context.Context, medium, address string) (matrix.UserID, error) {
	if medium == Email {
		canonical, err := CanonicalEmail(address)
		if err != nil {
			return "", nil
		}
		address = canonical
	}
	return s.options.Store.ThreePID.User(ctx, s.options.DB.Read(), medium, address)
}

// emailStage is an address that was verified before (Client-Server API §
// Email-based). Its proof is the session in which it was.
type emailStage struct{ accounts *Service }

func (emailStage) Name() string                 { return StageEmail }
func (emailStage) Params(Operation, string) any { return nil }

type threePIDCreds struct {
	SID          string `json:"sid"`
	ClientSecret string `json:"client_secret"`
}

func (e emailStage) Check(ctx context.Context, a Attempt) (string, error) {
	var auth struct {
		Creds  *threePIDCreds `json:"threepid_creds"`
		Legacy *threePIDCreds `json:"threepidCreds"` // as clients of before r0.5 spell it
	}
	if err := a.read(&auth); err != nil {
		return "", err
	}
	if auth.Creds == nil {
		auth.Creds = auth.Legacy
	}
	if auth.Creds == nil {
		return "", matrix.MissingParam("auth.threepid_creds is missing.")
	}
	session, err := e.accounts.verified(ctx, e.accounts.options.DB.Read(), auth.Creds.SID, auth.Creds.ClientSecret, a.Operation.mailPurpose())
	if code := matrix.Code(err); code != "" {
		return "", retry(code, "The address has not been verified yet.")
	}
	if err != nil {
		return "", err
	}
	return session.SID, nil
}

// mailPurpose is what an operation wants an address for.
func (op Operation) mailPurpose() string {
	if op.Name == resetOperation {
		return ForPassword
	}
	return ForRegistration
}
