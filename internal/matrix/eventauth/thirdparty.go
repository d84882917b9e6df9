package eventauth

import (
	"crypto/ed25519"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"trestle/internal/matrix"
)

// maxVerifications bounds the work that one event can cause: thousands of
// signatures and keys fit into the two events. Identity servers use one or two.
const maxVerifications = 100

// thirdPartyInvite are the rules for an invite that somebody redeems whom
// only an identity server could name.
func (c *check) thirdPartyInvite(target matrix.UserID, raw json.RawMessage) error {
	if c.membership(target) == "ban" {
		return matrix.Forbidden("%s is banned from this room.", target)
	}
	signed := members(raw)["signed"]
	content := members(signed)
	if content == nil {
		return matrix.Forbidden("The third-party invite is not signed.")
	}
	mxid, hasUser := text(content["mxid"])
	token, hasToken := text(content["token"])
	if !hasUser || !hasToken {
		return matrix.Forbidden("The third-party invite lacks its mxid or token.")
	}
	if mxid != string(target) {
		return matrix.Forbidden("The third-party invite is for %.255s, not for %s.", mxid, target)
	}
	invite := c.state.Event("m.room.third_party_invite", token)
	if invite == nil {
		return matrix.Forbidden("The third-party invite is not, or no longer, in this room.")
	}
	if invite.Sender != c.Sender {
		return matrix.Forbidden("The third-party invite is that of %s, not of %s.", invite.Sender, c.Sender)
	}
	if !anySignature(signed, content["signatures"], inviteKeys(invite)) {
		return matrix.Forbidden("No key of the third-party invite has signed for %s.", target)
	}
	return nil
}

// inviteKeys are the public keys of m.room.third_party_invite.
func inviteKeys(invite *matrix.Event) []ed25519.PublicKey {
	content := members(invite.Content)
	encoded := []json.RawMessage{content["public_key"]}
	list, _ := elements(content["public_keys"])
	for _, entry := range list {
		encoded = append(encoded, members(entry)["public_key"])
	}
	var keys []ed25519.PublicKey
	for _, raw := range encoded {
		s, _ := text(raw)
		if key, err := matrix.DecodeBase64(s); err == nil && len(key) == ed25519.PublicKeySize {
			keys = append(keys, key)
		}
	}
	return keys
}

// anySignature reports whether one of the signatures on an object is by one
// of the keys. Which come to be tried is the same on every server.
func anySignature(object, signatures json.RawMessage, keys []ed25519.PublicKey) bool {
	tried := 0
	byServer := members(signatures)
	for _, server := range slices.Sorted(maps.Keys(byServer)) {
		byKey := members(byServer[server])
		for _, id := range slices.Sorted(maps.Keys(byKey)) {
			if !strings.HasPrefix(id, "ed25519:") {
				continue
			}
			for _, key := range keys {
				if tried++; tried > maxVerifications {
					return false
				}
				if matrix.VerifyJSON(object, matrix.ServerName(server), matrix.KeyID(id), key) == nil {
					return true
				}
			}
		}
	}
	return false
}
