package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Login is what a client gets that has logged in. Without a device nobody
// has: the registration was to make the account only.
type Login struct {
	UserID       matrix.UserID
	DeviceID     matrix.DeviceID
	AccessToken  string
	RefreshToken string // empty: the access token does not expire
	ExpiresInMS  int64
}

// A loginPlan is a login ready to be written.
type loginPlan struct {
	device      storage.Device
	access      storage.Token
	accessHash  tokenHash
	refresh     *storage.RefreshToken
	refreshHash tokenHash
	now         int64
}

// Tokens say what they are, so that they are recognised where they leaked to.
const (
	accessPrefix  = "trestle_at_"
	refreshPrefix = "trestle_rt_"
)

const maxDeviceName = 255

// prepareLogin makes tokens. They mean nothing until they are written.
func (s *Service) prepareLogin(ctx context.Context, user matrix.UserID, d *NewDevice) (*Login, *loginPlan, error) {
	if d == nil {
		return &Login{UserID: user}, nil, nil
	}
	if err := checkDevice(d.ID, d.Name); err != nil {
		return nil, nil, err
	}
	id := d.ID
	if id == "" {
		id = matrix.DeviceID(rand.Text()[:10])
	}
	return s.prepareTokens(ctx, user, storage.Device{ID: id, DisplayName: d.Name}, d.Refresh, 0)
}

func checkDevice(id matrix.DeviceID, name string) error {
	if len(id) > matrix.MaxIDLength {
		return matrix.InvalidParam("A device ID has at most %d bytes.", matrix.MaxIDLength)
	}
	if len(name) > maxDeviceName {
		return matrix.InvalidParam("A device's name has at most %d bytes.", maxDeviceName)
	}
	return nil
}

func (s *Service) prepareTokens(ctx context.Context, user matrix.UserID, device storage.Device, refresh bool, replaces int64) (*Login, *loginPlan, error) {
	now := s.now()
	plan := &loginPlan{device: device, now: now, access: storage.Token{UserID: user, DeviceID: device.ID}}
	login := &Login{UserID: user, DeviceID: device.ID}
	var err error
	if plan.access.ID, err = s.tokenIDs.Next(ctx); err != nil {
		return nil, nil, err
	}
	login.AccessToken, plan.accessHash = s.newAccessToken()
	if refresh {
		login.ExpiresInMS = s.options.TokenLifetime.Milliseconds()
		plan.access.ExpiresAt = now + login.ExpiresInMS
		plan.refresh = &storage.RefreshToken{UserID: user, DeviceID: device.ID, Replaces: replaces}
		if plan.refresh.ID, err = s.tokenIDs.Next(ctx); err != nil {
			return nil, nil, err
		}
		plan.access.RefreshID = plan.refresh.ID
		login.RefreshToken, plan.refreshHash = newToken(refreshPrefix)
	}
	return login, plan, nil
}

func newToken(prefix string) (string, tokenHash) {
	token := prefix + strings.ToLower(rand.Text()+rand.Text())
	return token, sha256.Sum256([]byte(token))
}

// An access token is its prefix, chance, and a MAC of both, of the same length.
// What is valid is in the database; the MAC only tells guesses from what may
// have been valid once.
const tokenPart = 26

func (s *Service) newAccessToken() (string, tokenHash) {
	token := accessPrefix + strings.ToLower(rand.Text())
	token += s.tokenMAC(token)
	return token, sha256.Sum256([]byte(token))
}

func (s *Service) tokenMAC(token string) string {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("access token\x00" + token))
	return strings.ToLower(base32.StdEncoding.EncodeToString(mac.Sum(nil)))[:tokenPart]
}

// madeHere reports whether an access token was made with this server's secret.
// Those of before that was noted, and of a secret before, were not.
func (s *Service) madeHere(token string) bool {
	at := len(token) - tokenPart
	return at > 0 && strings.HasPrefix(token, accessPrefix) && hmac.Equal([]byte(s.tokenMAC(token[:at])), []byte(token[at:]))
}

// writeLogin makes the device, or ends the tokens that it had, and stores the
// new ones.
func (s *Service) writeLogin(ctx context.Context, tx *database.Tx, p *loginPlan) error {
	store, user := s.options.Store, p.access.UserID
	tx.OnCommit(func() { s.forget(user) })
	isNew, err := store.Devices.Insert(ctx, tx, user, p.device.ID, p.device.DisplayName, p.now)
	if err != nil {
		return err
	}
	if isNew {
		err = s.makeRoom(ctx, tx, user, p.device.ID)
	} else {
		err = store.Tokens.DeleteOfDevices(ctx, tx, user, []matrix.DeviceID{p.device.ID})
	}
	if err != nil {
		return err
	}
	return s.writeTokens(ctx, tx, p)
}

// makeRoom ends the devices that were not used for the longest time, when there
// are too many with a new one.
func (s *Service) makeRoom(ctx context.Context, tx *database.Tx, user matrix.UserID, isNew matrix.DeviceID) error {
	store := s.options.Store.Devices
	n, err := store.Count(ctx, tx, user)
	if err != nil {
		return err
	}
	if tooMany := n - int64(s.options.MaxDevices); tooMany > 0 {
		idle, err := store.Idle(ctx, tx, user, isNew, tooMany)
		if err != nil {
			return err
		}
		return s.deleteDevices(ctx, tx, user, idle)
	}
	return s.devicesChanged(ctx, tx, user, nil)
}

func (s *Service) writeTokens(ctx context.Context, tx *database.Tx, p *loginPlan) error {
	if err := s.options.Store.Tokens.Insert(ctx, tx, p.accessHash[:], p.access); err != nil {
		return err
	}
	tx.OnCommit(func() { s.refused.drop(p.accessHash) })
	if p.refresh == nil {
		return nil
	}
	return s.options.Store.Tokens.InsertRefresh(ctx, tx, p.refreshHash[:], *p.refresh)
}

// startLogin logs a user in whose right to do so has been established.
func (s *Service) startLogin(ctx context.Context, user matrix.UserID, d NewDevice) (*Login, error) {
	if err := s.checkUnlocked(ctx, user); err != nil {
		return nil, err
	}
	login, plan, err := s.prepareLogin(ctx, user, &d)
	if err != nil {
		return nil, err
	}
	if err := s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.writeLogin(ctx, tx, plan) }); err != nil {
		return nil, err
	}
	return login, nil
}

// Refresh turns a refresh token into a new pair of tokens. The old pair stays
// valid until the new one is used, so that a client that never got the answer
// can try again (Client-Server API § Refreshing access tokens).
func (s *Service) Refresh(ctx context.Context, token string) (*Login, error) {
	hash := sha256.Sum256([]byte(token))
	old, err := s.options.Store.Tokens.FindRefresh(ctx, s.options.DB.Read(), hash[:])
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, matrix.UnknownToken(false)
	}
	if err := s.checkUnlocked(ctx, old.UserID); err != nil {
		return nil, err
	}
	return s.renew(ctx, old, hash)
}

// RefreshLocked is [Service.Refresh] for clients to which a refusal would be the
// end of their session: a locked account gets tokens, and M_USER_LOCKED for
// whatever is done with them (Client-Server API § Account locking).
func (s *Service) RefreshLocked(ctx context.Context, token string) (*Login, error) {
	hash := sha256.Sum256([]byte(token))
	old, err := s.options.Store.Tokens.FindRefresh(ctx, s.options.DB.Read(), hash[:])
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, matrix.UnknownToken(false)
	}
	return s.renew(ctx, old, hash)
}

// renew writes the successors of a refresh token and its access token.
func (s *Service) renew(ctx context.Context, old *storage.RefreshToken, hash tokenHash) (*Login, error) {
	store := s.options.Store.Tokens
	login, plan, err := s.prepareTokens(ctx, old.UserID, storage.Device{ID: old.DeviceID}, true, old.ID)
	if err != nil {
		return nil, err
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.forget(old.UserID) })
		now, err := store.FindRefresh(ctx, tx, hash[:])
		if err != nil {
			return err
		}
		if now == nil {
			return matrix.UnknownToken(false)
		}
		if now.Replaces != 0 {
			if err := store.Retire(ctx, tx, now.Replaces); err != nil {
				return err
			}
		}
		if err := store.DropSuccessors(ctx, tx, now.ID); err != nil {
			return err
		}
		return s.writeTokens(ctx, tx, plan)
	})
	if err != nil {
		return nil, err
	}
	return login, nil
}

// retire ends a refresh token whose successor has come into use.
func (s *Service) retire(ctx context.Context, user matrix.UserID, refreshID int64) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.forget(user) })
		return s.options.Store.Tokens.Retire(ctx, tx, refreshID)
	})
}

// Logout ends the caller's login: its device goes, and all of its tokens.
func (s *Service) Logout(ctx context.Context, who Caller) error {
	if who.DeviceID == "" {
		return matrix.Forbidden("An application service has nothing to log out of.")
	}
	return s.removeDevices(ctx, who.UserID, []matrix.DeviceID{who.DeviceID})
}

// LogoutAll ends every login of the caller.
func (s *Service) LogoutAll(ctx context.Context, who Caller) error {
	return s.removeOtherDevices(ctx, who.UserID, "")
}

// contains compares without telling by its time how much is right.
func contains(secrets []string, given string) bool {
	found := 0
	for _, secret := range secrets {
		found |= subtle.ConstantTimeCompare([]byte(secret), []byte(given))
	}
	return found == 1
}
