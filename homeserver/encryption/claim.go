package encryption

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Claim asks for one key of each of some devices: the algorithm, by user and
// device.
type Claim map[matrix.UserID]map[matrix.DeviceID]string

// Claimed is the answer to a [Claim]: the keys, named algorithm:ID.
type Claimed struct {
	Failures    map[matrix.ServerName]*matrix.Error                                    `json:"failures"`
	OneTimeKeys map[matrix.UserID]map[matrix.DeviceID]map[matrix.KeyID]json.RawMessage `json:"one_time_keys"`
}

// claimsAtOnce bounds the claims of one transaction, so that a large request
// does not hold up everybody else's writes.
const claimsAtOnce = 50

type claim struct {
	user      matrix.UserID
	device    matrix.DeviceID
	algorithm string
}

// A handout is a key that was given out.
type handout struct {
	claim
	key  matrix.KeyID
	json json.RawMessage
}

// Claim gives out one-time keys of local users' devices, each once and in the
// order in which they were uploaded; where none is left, what an application
// service gives out for its own users, or the fallback key. Devices without any
// are missing from the answer.
func (s *Service) Claim(ctx context.Context, wanted Claim) (*Claimed, error) {
	claimed := &Claimed{
		Failures:    map[matrix.ServerName]*matrix.Error{},
		OneTimeKeys: map[matrix.UserID]map[matrix.DeviceID]map[matrix.KeyID]json.RawMessage{},
	}
	var claims []claim
	for user, devices := range wanted {
		if !s.local(user) {
			claimed.Failures[user.Server()] = unreachable(user.Server())
			continue
		}
		for device, algorithm := range devices {
			if !isName(string(device)) || !isName(algorithm) {
				return nil, matrix.InvalidParam("There is no key %.80q of a device %.80q.", algorithm, device)
			}
			claims = append(claims, claim{user, device, algorithm})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.device, b.device))
	})
	kept, err := s.handOutAll(ctx, claims, claimed, s.options.AppServices.Kept)
	if err != nil || len(kept) == 0 {
		return claimed, err
	}
	kept = s.claimKept(ctx, kept, claimed)
	_, err = s.handOutAll(ctx, kept, claimed, func(matrix.UserID) bool { return false })
	return claimed, err
}

// handOutAll gives out keys, and returns the claims of kept users for whom
// there was no one-time key.
func (s *Service) handOutAll(ctx context.Context, claims []claim, claimed *Claimed, kept func(matrix.UserID) bool) (left []claim, err error) {
	for chunk := range slices.Chunk(claims, claimsAtOnce) {
		given, without, err := s.handOut(ctx, chunk, kept)
		if err != nil {
			return nil, err
		}
		for _, h := range given {
			claimed.add(h)
		}
		left = append(left, without...)
	}
	return left, nil
}

func (c *Claimed) add(h handout) {
	if c.OneTimeKeys[h.user] == nil {
		c.OneTimeKeys[h.user] = map[matrix.DeviceID]map[matrix.KeyID]json.RawMessage{}
	}
	c.OneTimeKeys[h.user][h.device] = map[matrix.KeyID]json.RawMessage{h.key: h.json}
}

func (s *Service) handOut(ctx context.Context, claims []claim, kept func(matrix.UserID) bool) (given []handout, left []claim, err error) {
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		given, left = nil, nil
		var changed []matrix.UserID // in order
		for _, c := range claims {
			withoutFallback := kept(c.user)
			h, fewer, err := s.takeKey(ctx, tx, c, !withoutFallback)
			if err != nil {
				return err
			}
			if h != nil {
				given = append(given, *h)
			} else if withoutFallback {
				left = append(left, c)
			}
			if fewer && (len(changed) == 0 || changed[len(changed)-1] != c.user) {
				changed = append(changed, c.user)
			}
		}
		for _, user := range changed {
			if _, err := s.countsChanged(ctx, tx, user); err != nil {
				return err
			}
		}
		return nil
	})
	return given, left, err
}

// takeKey gives out one key, or nil. fewer tells that its device has fewer
// unused keys than before.
func (s *Service) takeKey(ctx context.Context, tx *database.Tx, c claim, fallback bool) (given *handout, fewer bool, err error) {
	k, err := s.keys.OneTimeKeys.Take(ctx, tx, c.user, c.device, c.algorithm)
	if err != nil {
		return nil, false, err
	}
	if k == nil && !fallback {
		return nil, false, nil
	}
	if fewer = k != nil; !fewer {
		var used bool
		k, used, err = s.keys.OneTimeKeys.Fallback(ctx, tx, c.user, c.device, c.algorithm)
		if err != nil || k == nil {
			return nil, false, err
		}
		if fewer = !used; fewer {
			if err := s.keys.OneTimeKeys.UseFallback(ctx, tx, c.user, c.device, c.algorithm); err != nil {
				return nil, false, err
			}
		}
	}
	return &handout{claim: c, key: matrix.KeyID(c.algorithm + ":" + k.ID), json: k.JSON}, fewer, nil
}
