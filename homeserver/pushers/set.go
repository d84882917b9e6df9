package pushers

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Pusher is where a user wants to be notified.
type Pusher = storage.Pusher

// The kinds of pushers.
const (
	HTTP  = "http"
	Email = "email"
)

const (
	// EmailApp is the app ID of pushers of kind email.
	EmailApp = "m.email"
	// notifyPath is what the URL of a gateway ends in.
	notifyPath = "/_matrix/push/v1/notify"

	maxAppID   = 64  // bytes, as the specification has it
	maxKey     = 512 // bytes, as the specification has it
	maxText    = 512
	maxURL     = 2048
	maxData    = 16 << 10
	maxPushers = 100 // of a user
)

// A Spec is what a client says of a pusher. What has to be there and is not,
// is nil.
type Spec struct {
	Kind       string
	AppID      string
	Key        string
	AppName    *string
	DeviceName *string
	Lang       *string
	ProfileTag string
	Data       json.RawMessage
	Append     bool // other users may have the same app ID and key
	Enabled    bool
	// Owner is the device that the pusher is said to be of: a client that
	// switches another device's pusher repeats it (MSC3881).
	Owner matrix.DeviceID
}

// List is the pushers of a user, oldest first.
func (s *Service) List(ctx context.Context, user matrix.UserID) ([]Pusher, error) {
	return s.store.OfUser(ctx, s.db.Read(), user)
}

// Remove ends the pusher of a user with an app ID and a key; there need not be
// one.
func (s *Service) Remove(ctx context.Context, user matrix.UserID, appID, key string) error {
	if err := checkNames(appID, key); err != nil {
		return err
	}
	if canonical, err := accounts.CanonicalEmail(key); err == nil && appID == EmailApp {
		key = canonical
	}
	return s.db.Update(ctx, func(tx *database.Tx) error {
		p, err := s.store.ByKey(ctx, tx, user, appID, key)
		if err != nil || p == nil {
			return err
		}
		return s.delete(ctx, tx, p)
	})
}

// Set makes a pusher of a user's device, or changes the one with this app ID
// and key. It tells of what happens from now on.
func (s *Service) Set(ctx context.Context, user matrix.UserID, device matrix.DeviceID, spec Spec) error {
	if err := s.check(ctx, user, &spec); err != nil {
		return err
	}
	id, err := s.store.NewID(ctx)
	if err != nil {
		return err
	}
	now, err := s.options.Store.Position(ctx)
	if err != nil {
		return err
	}
	p := storage.Pusher{
		ID: id, User: user, Device: device, Kind: spec.Kind, AppID: spec.AppID, Key: spec.Key, AppName: *spec.AppName,
		DeviceName: *spec.DeviceName, ProfileTag: spec.ProfileTag, Lang: *spec.Lang, Data: spec.Data, Enabled: spec.Enabled,
		SetAt: s.now(), Position: now,
	}
	return s.db.Update(ctx, func(tx *database.Tx) error {
		if err := s.place(ctx, tx, p, spec.Owner); err != nil || spec.Append {
			return err
		}
		return s.evict(ctx, tx, &p)
	})
}

// place stores a pusher. One that goes on keeps how far it is.
func (s *Service) place(ctx context.Context, tx *database.Tx, p Pusher, owner matrix.DeviceID) error {
	list, err := s.store.OfUser(ctx, tx, p.User)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(other Pusher) bool { return other.AppID == p.AppID && other.Key == p.Key })
	if i < 0 && len(list) >= maxPushers {
		return matrix.TooLarge("A user has at most %d pushers.", maxPushers)
	}
	if i >= 0 {
		was := list[i]
		p.ID = was.ID
		if was.Kind == p.Kind && was.Enabled {
			p.Position, p.Badge = was.Position, was.Badge
		}
		if owner != "" && owner == was.Device {
			p.Device = was.Device
		}
	}
	tx.OnCommit(func() { s.desk.inbox.change(p.User) })
	return s.store.Set(ctx, tx, p)
}

// evict removes the pushers of other users with the same app ID and key: the
// application on that device has another user now.
func (s *Service) evict(ctx context.Context, tx *database.Tx, p *Pusher) error {
	users, err := s.store.OtherOwners(ctx, tx, p.User, p.AppID, p.Key)
	if err != nil {
		return err
	}
	for _, user := range users {
		other, err := s.store.ByKey(ctx, tx, user, p.AppID, p.Key)
		if err != nil {
			return err
		}
		if other == nil {
			continue
		}
		if err := s.delete(ctx, tx, other); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) delete(ctx context.Context, tx *database.Tx, p *Pusher) error {
	user := p.User
	tx.OnCommit(func() { s.desk.inbox.change(user) })
	return s.store.Delete(ctx, tx, p.ID)
}

// deleteWhere ends those pushers of a user of which a condition holds.
func (s *Service) deleteWhere(ctx context.Context, tx *database.Tx, user matrix.UserID, goes func(*Pusher) bool) error {
	list, err := s.store.OfUser(ctx, tx, user)
	if err != nil {
		return err
	}
	for i := range list {
		if !goes(&list[i]) {
			continue
		}
		if err := s.delete(ctx, tx, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// DeviceListChanged ends the pushers of devices that went.
func (s *Service) DeviceListChanged(ctx context.Context, tx *database.Tx, user matrix.UserID, removed []matrix.DeviceID) error {
	if len(removed) == 0 {
		return nil
	}
	return s.deleteWhere(ctx, tx, user, func(p *Pusher) bool { return slices.Contains(removed, p.Device) })
}

// AddressRemoved ends the pusher that mails to an address which the user does
// not have any more.
func (s *Service) AddressRemoved(ctx context.Context, tx *database.Tx, user matrix.UserID, medium, address string) error {
	if medium != accounts.Email {
		return nil
	}
	return s.deleteWhere(ctx, tx, user, func(p *Pusher) bool { return p.Kind == Email && p.Key == address })
}

// Deactivated ends all pushers of a user whose account is gone.
func (s *Service) Deactivated(ctx context.Context, user matrix.UserID, _ bool) error {
	return s.db.Update(ctx, func(tx *database.Tx) error {
		return s.deleteWhere(ctx, tx, user, func(*Pusher) bool { return true })
	})
}

// check completes a spec, or says what is wrong with it.
func (s *Service) check(ctx context.Context, user matrix.UserID, spec *Spec) error {
	if err := checkNames(spec.AppID, spec.Key); err != nil {
		return err
	}
	var missing []string
	for name, absent := range map[string]bool{
		"app_display_name": spec.AppName == nil, "device_display_name": spec.DeviceName == nil, "lang": spec.Lang == nil,
		"data": len(spec.Data) == 0 || string(spec.Data) == "null",
	} {
		if absent {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return matrix.MissingParam("Missing: %s.", strings.Join(missing, ", "))
	}
	for _, text := range []string{*spec.AppName, *spec.DeviceName, *spec.Lang, spec.ProfileTag} {
		if len(text) > maxText {
			return matrix.InvalidParam("Names, language and profile tag have at most %d bytes each.", maxText)
		}
	}
	if len(spec.Data) > maxData {
		return matrix.InvalidParam("data has at most %d bytes.", maxData)
	}
	switch spec.Kind {
	case HTTP:
		return s.checkHTTP(spec.Data)
	case Email:
		return s.checkEmail(ctx, user, spec)
	}
	return matrix.InvalidParam("%.40q is no kind of pusher that is known here.", spec.Kind)
}

func checkNames(appID, key string) error {
	if appID == "" || len(appID) > maxAppID {
		return matrix.InvalidParam("app_id has 1 to %d bytes.", maxAppID)
	}
	if key == "" || len(key) > maxKey {
		return matrix.InvalidParam("pushkey has 1 to %d bytes.", maxKey)
	}
	return nil
}

func (s *Service) checkHTTP(raw json.RawMessage) error {
	data, err := readData(raw)
	if err != nil {
		return err
	}
	if data.URL == "" {
		return matrix.MissingParam("data.url is missing.")
	}
	u, err := url.Parse(data.URL)
	if err != nil || len(data.URL) > maxURL || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.EscapedPath() != notifyPath {
		return matrix.InvalidParam("data.url is not a URL with the path %s.", notifyPath)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !s.options.AllowHTTP) {
		return matrix.InvalidParam("data.url does not begin with https.")
	}
	return nil
}

// checkEmail lets users have mails sent to themselves only.
func (s *Service) checkEmail(ctx context.Context, user matrix.UserID, spec *Spec) error {
	if s.options.Mailer == nil {
		return matrix.InvalidParam("This server does not send mails.")
	}
	if spec.AppID != EmailApp {
		return matrix.InvalidParam("The app_id of pushers of kind email is %s.", EmailApp)
	}
	if _, err := readData(spec.Data); err != nil {
		return err
	}
	address, err := accounts.CanonicalEmail(spec.Key)
	if err != nil {
		return err
	}
	own, err := s.hasAddress(ctx, user, address)
	if err != nil {
		return err
	}
	if !own {
		return matrix.NewError(http.StatusBadRequest, "M_THREEPID_NOT_FOUND", "This is not a mail address of yours that has been verified.")
	}
	spec.Key = address
	return nil
}

func (s *Service) hasAddress(ctx context.Context, user matrix.UserID, address string) (bool, error) {
	list, err := s.options.Accounts.ThreePIDs(ctx, user)
	return slices.ContainsFunc(list, func(p accounts.ThreePID) bool { return p.Medium == accounts.Email && p.Address == address }), err
}
