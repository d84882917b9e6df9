package accounts

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The profile fields with a meaning of their own.
const (
	DisplayName = "displayname"
	AvatarURL   = "avatar_url"
	TimeZone    = "m.tz"
)

const (
	maxProfile     = 64 << 10 // bytes of the whole profile as JSON
	maxProfileKey  = 255
	maxDisplayName = 1024
	maxAvatarURL   = 1024
)

// A Profile is what a user tells about themselves, by field.
type Profile map[string]json.RawMessage

// Text is a field that is a string, or empty.
func (p Profile) Text(field string) string {
	var s string
	if json.Unmarshal(p[field], &s) != nil {
		return ""
	}
	return s
}

// RemoteProfiles asks other servers for profiles. The field is empty for the
// whole profile.
type RemoteProfiles interface {
	RemoteProfile(ctx context.Context, user matrix.UserID, field string) (Profile, error)
}

// Profile is the display name and the avatar of a local user, for their member
// events; empty is none.
func (s *Service) Profile(ctx context.Context, user matrix.UserID) (displayName, avatarURL string, err error) {
	fields, err := s.options.Store.Profiles.Names(ctx, user)
	profile := Profile(fields)
	return profile.Text(DisplayName), profile.Text(AvatarURL), err
}

// WholeProfile is all fields of a user's profile, or M_NOT_FOUND.
func (s *Service) WholeProfile(ctx context.Context, user matrix.UserID) (Profile, error) {
	if !s.Local(user) {
		return s.remoteProfile(ctx, user, "")
	}
	if ok, err := s.Ensure(ctx, user); err != nil {
		return nil, err
	} else if !ok {
		return nil, noSuchUser()
	}
	return s.options.Store.Profiles.All(ctx, s.options.DB.Read(), user)
}

// ProfileField is one field of a user's profile, or M_NOT_FOUND.
func (s *Service) ProfileField(ctx context.Context, user matrix.UserID, field string) (json.RawMessage, error) {
	if err := checkField(field); err != nil {
		return nil, err
	}
	if !s.Local(user) {
		profile, err := s.remoteProfile(ctx, user, field)
		if err == nil && profile[field] == nil {
			err = noSuchField()
		}
		return profile[field], err
	}
	if ok, err := s.Ensure(ctx, user); err != nil {
		return nil, err
	} else if !ok {
		return nil, noSuchUser()
	}
	value, err := s.options.Store.Profiles.Field(ctx, user, field)
	if err == nil && value == nil {
		err = noSuchField()
	}
	return value, err
}

func (s *Service) remoteProfile(ctx context.Context, user matrix.UserID, field string) (Profile, error) {
	if s.observers.Remote == nil {
		return nil, matrix.NotFound("Nothing is known here about users of %s.", user.Server())
	}
	profile, err := s.observers.Remote.RemoteProfile(ctx, user, field)
	return presentable(profile), err
}

// presentable is what is fit to be shown of a profile that another server has written.
func presentable(profile Profile) Profile {
	shown := make(Profile, len(profile))
	for field, raw := range profile {
		value, err := matrix.CanonicalJSON(raw)
		if err != nil || string(value) == "null" || checkField(field) != nil {
			continue
		}
		if empty, err := checkFieldValue(field, value); err != nil || empty {
			continue
		}
		if field == AvatarURL && !strings.HasPrefix(string(value), `"mxc://`) {
			continue
		}
		shown[field] = value
	}
	return shown
}

// SetProfileField sets a field of the caller's own profile. An empty display
// name or avatar URL removes it; a nil value is M_MISSING_PARAM.
func (s *Service) SetProfileField(ctx context.Context, who Caller, user matrix.UserID, field string, value json.RawMessage) error {
	if err := mayChangeProfile(who, user, field); err != nil {
		return err
	}
	if value == nil {
		return matrix.MissingParam("%s is missing.", field)
	}
	empty, err := checkFieldValue(field, value)
	if err != nil {
		return err
	}
	if empty {
		return s.deleteProfileField(ctx, user, field)
	}
	store := s.options.Store.Profiles
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		profile, err := store.All(ctx, tx, user)
		if err != nil {
			return err
		}
		profile[field] = value
		if whole, err := json.Marshal(profile); err != nil || len(whole) > maxProfile {
			return matrix.NewError(http.StatusBadRequest, "M_PROFILE_TOO_LARGE", "A profile has at most %d bytes.", maxProfile)
		}
		return store.Set(ctx, tx, user, field, value)
	})
	if err != nil {
		return err
	}
	return s.profileChanged(ctx, user, field)
}

// DeleteProfileField removes a field of the caller's own profile, if there.
func (s *Service) DeleteProfileField(ctx context.Context, who Caller, user matrix.UserID, field string) error {
	if err := mayChangeProfile(who, user, field); err != nil {
		return err
	}
	return s.deleteProfileField(ctx, user, field)
}

func (s *Service) deleteProfileField(ctx context.Context, user matrix.UserID, field string) error {
	var removed bool
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		var err error
		removed, err = s.options.Store.Profiles.Delete(ctx, tx, user, field)
		return err
	})
	if err != nil || !removed {
		return err
	}
	return s.profileChanged(ctx, user, field)
}

func (s *Service) profileChanged(ctx context.Context, user matrix.UserID, field string) error {
	for _, o := range s.observers.Profiles {
		if err := o.ProfileChanged(ctx, user, field); err != nil {
			return err
		}
	}
	return nil
}

func mayChangeProfile(who Caller, user matrix.UserID, field string) error {
	if err := checkField(field); err != nil {
		return err
	}
	if who.UserID != user {
		return matrix.Forbidden("You can change your own profile only.")
	}
	if who.Guest && field != DisplayName {
		return matrix.NewError(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", "Guests can only change their display name.")
	}
	return nil
}

// checkField holds a field's name against the Common Namespaced Identifier
// Grammar, of which the two oldest fields are exceptions.
func checkField(field string) error {
	if len(field) > maxProfileKey {
		return matrix.NewError(http.StatusBadRequest, "M_KEY_TOO_LARGE", "The name of a profile field has at most %d bytes.", maxProfileKey)
	}
	if field == DisplayName || field == AvatarURL {
		return nil
	}
	valid := field != "" && field[0] >= 'a' && field[0] <= 'z' && strings.Contains(field, ".")
	for _, c := range []byte(field) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			valid = false
		}
	}
	if !valid {
		return matrix.InvalidParam("Profile fields are displayname, avatar_url and namespaced names such as org.example.field.")
	}
	return nil
}

// checkFieldValue reports whether the value stands for having none.
func checkFieldValue(field string, value json.RawMessage) (empty bool, err error) {
	if field != DisplayName && field != AvatarURL && field != TimeZone {
		return false, nil
	}
	var text *string
	if err := json.Unmarshal(value, &text); err != nil || text == nil {
		return false, matrix.BadJSON("%s must be a string.", field)
	}
	switch {
	case strings.ContainsRune(*text, 0):
		return false, matrix.BadJSON("%s has characters that are not allowed.", field)
	case field == DisplayName && len(*text) > maxDisplayName:
		return false, matrix.InvalidParam("A display name has at most %d bytes.", maxDisplayName)
	case field == AvatarURL && len(*text) > maxAvatarURL:
		return false, matrix.InvalidParam("An avatar's URI has at most %d bytes.", maxAvatarURL)
	}
	return *text == "" && field != TimeZone, nil
}

func noSuchField() error { return matrix.NotFound("The profile has no such field.") }
