package encryption

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Upload stores keys of a local user's device and returns how many one-time
// keys it has then, by algorithm. Keys that are here already do not matter; a
// one-time key that differs from the one of the same ID is M_UNKNOWN, as
// clients expect it.
func (s *Service) Upload(ctx context.Context, user matrix.UserID, device matrix.DeviceID, u *Upload) (map[string]int, error) {
	if u.DeviceKeys != nil && (u.owner.User != user || u.owner.Device != device) {
		return nil, matrix.InvalidParam("device_keys are those of %s of %.80s, but you are %s of %s.", u.owner.Device, u.owner.User, device, user)
	}
	err := s.store.DB.Update(ctx, func(tx *database.Tx) error {
		plan, err := s.planUpload(ctx, tx, user, device, u)
		if err != nil {
			return err
		}
		return s.writeUpload(ctx, tx, user, device, plan)
	})
	if err != nil {
		return nil, err
	}
	counts, _, err := s.Counts(ctx, user, device)
	return counts, err
}

// planUpload is what is new of an upload. It only reads: a transaction that
// ends here disturbs no other.
func (s *Service) planUpload(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, u *Upload) (*Upload, error) {
	// It may have been logged out since its token was looked at.
	exists, err := s.keys.DeviceKeys.DeviceExists(ctx, tx, user, device)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, matrix.UnknownToken(false)
	}
	plan := &Upload{FallbackKeys: u.FallbackKeys}
	if u.DeviceKeys != nil {
		stored, err := s.keys.DeviceKeys.Find(ctx, tx, user, device)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(stored, u.DeviceKeys) {
			plan.DeviceKeys = u.DeviceKeys
			plan.replaces = stored != nil && !sameKey(stored, u.DeviceKeys)
		}
	}
	plan.OneTimeKeys, err = s.newOneTimeKeys(ctx, tx, user, device, u.OneTimeKeys)
	return plan, err
}

// newOneTimeKeys is those keys that are not stored yet.
func (s *Service) newOneTimeKeys(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, keys []storage.OneTimeKey) ([]storage.OneTimeKey, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	stored, err := s.keys.OneTimeKeys.Find(ctx, tx, user, device, ids)
	if err != nil {
		return nil, err
	}
	type name struct{ algorithm, id string }
	known := make(map[name]json.RawMessage, len(stored))
	for _, k := range stored {
		known[name{k.Algorithm, k.ID}] = k.JSON
	}
	var fresh []storage.OneTimeKey
	for _, k := range keys {
		old, found := known[name{k.Algorithm, k.ID}]
		if !found {
			fresh = append(fresh, k)
		} else if !sameKey(old, k.JSON) {
			return nil, matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "One time key %s:%s already exists. Old key: %s; new key: %s", k.Algorithm, k.ID, old, k.JSON)
		}
	}
	counts, err := s.keys.OneTimeKeys.Counts(ctx, tx, user, device)
	if err != nil {
		return nil, err
	}
	total := len(fresh)
	for _, n := range counts {
		total += n
	}
	if total > maxOneTimeKeys {
		return nil, matrix.TooLarge("A device can keep %d one-time keys here.", maxOneTimeKeys)
	}
	return fresh, nil
}

// sameKey compares two keys, signatures aside: signing twice need not give the
// same signature.
func sameKey(a, b json.RawMessage) bool {
	return bytes.Equal(withoutSignatures(a), withoutSignatures(b))
}

// withoutSignatures is a canonical object as it is signed; anything else stays
// as it is.
func withoutSignatures(raw json.RawMessage) []byte {
	members, err := object(raw, "")
	if err != nil {
		return raw
	}
	delete(members, "signatures")
	delete(members, "unsigned")
	plain, err := matrix.MarshalCanonical(members)
	if err != nil {
		return raw
	}
	return plain
}

func (s *Service) writeUpload(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, plan *Upload) error {
	changed := false
	for _, k := range plan.FallbackKeys {
		isNew, err := s.keys.OneTimeKeys.SetFallback(ctx, tx, user, device, k)
		if err != nil {
			return err
		}
		changed = changed || isNew
	}
	if changed || len(plan.OneTimeKeys) > 0 {
		position, err := s.countsChanged(ctx, tx, user)
		if err != nil {
			return err
		}
		if err := s.keys.OneTimeKeys.Insert(ctx, tx, user, device, plan.OneTimeKeys, position); err != nil {
			return err
		}
	}
	if plan.DeviceKeys == nil {
		return nil
	}
	if plan.replaces {
		// What was signed were the old keys.
		if err := s.keys.CrossSigning.DeleteSignatures(ctx, tx, user, []string{string(device)}); err != nil {
			return err
		}
	}
	if err := s.keys.DeviceKeys.Set(ctx, tx, user, device, plan.DeviceKeys); err != nil {
		return err
	}
	return s.listChanged(ctx, tx, user, "")
}

// countsChanged takes a position for a change of how many keys a user's
// devices have.
func (s *Service) countsChanged(ctx context.Context, tx *database.Tx, user matrix.UserID) (int64, error) {
	position, err := tx.Position(ctx)
	if err != nil {
		return 0, err
	}
	if s.options.AppServices.Told(user) {
		if err := s.keys.KeyChanges.Set(ctx, tx, user, position); err != nil {
			return 0, err
		}
	}
	tx.OnCommit(func() {
		s.counts.forget(user)
		s.options.Notifier.UserChanged(user, notifier.Keys, position)
	})
	return position, nil
}

// keyCounts is what /sync tells a device about its keys. Read only.
type keyCounts struct {
	oneTime  map[string]int
	fallback []string
}

// usualAlgorithm is the algorithm of one-time keys that every client uses. Its
// count is given even when it is zero: some clients upload none if it is missing.
const usualAlgorithm = "signed_curve25519"

// Counts is how many one-time keys a device has left, by algorithm, and the
// algorithms of its fallback keys that were not given out yet. Neither may be
// changed.
func (s *Service) Counts(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (oneTime map[string]int, fallback []string, err error) {
	known, found, mark := s.counts.get(user, device)
	if found {
		return known.oneTime, known.fallback, nil
	}
	read := s.store.DB.Read()
	if known.oneTime, err = s.keys.OneTimeKeys.Counts(ctx, read, user, device); err != nil {
		return nil, nil, err
	}
	if _, found := known.oneTime[usualAlgorithm]; !found {
		known.oneTime[usualAlgorithm] = 0
	}
	if known.fallback, err = s.keys.OneTimeKeys.UnusedFallbacks(ctx, read, user, device); err != nil {
		return nil, nil, err
	}
	s.counts.put(user, device, known, mark)
	return known.oneTime, known.fallback, nil
}
