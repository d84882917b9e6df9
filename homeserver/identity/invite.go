package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"trestle/internal/matrix"
)

// An Invitation is what an identity server tells whom it invites by mail.
type Invitation struct {
	Medium            string           `json:"medium"`
	Address           string           `json:"address"`
	Room              matrix.RoomID    `json:"room_id"`
	Sender            matrix.UserID    `json:"sender"`
	RoomAlias         matrix.RoomAlias `json:"room_alias,omitempty"`
	RoomAvatarURL     string           `json:"room_avatar_url,omitempty"`
	RoomJoinRules     string           `json:"room_join_rules,omitempty"`
	RoomName          string           `json:"room_name,omitempty"`
	RoomType          string           `json:"room_type,omitempty"`
	SenderDisplayName string           `json:"sender_display_name,omitempty"`
	SenderAvatarURL   string           `json:"sender_avatar_url,omitempty"`
}

// A PublicKey is a key that signs for those who accept an invitation. Without
// an address to ask it is valid for ever.
type PublicKey struct {
	Key         string `json:"public_key"`
	ValidityURL string `json:"key_validity_url,omitempty"`
}

// Public is the key itself; nil if it is none.
func (k PublicKey) Public() ed25519.PublicKey {
	raw, err := matrix.DecodeBase64(k.Key)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil
	}
	return raw
}

// An Offer is an invitation that an identity server keeps.
type Offer struct {
	Token       string      `json:"token"`
	DisplayName string      `json:"display_name"`
	PublicKeys  []PublicKey `json:"public_keys"`
}

// maxKeys is how many keys an offer may have; there are two in the
// specification.
const maxKeys = 10

var tokens = regexp.MustCompile(`^[0-9a-zA-Z.=_-]{1,255}$`)

// Lookup is who has an address, or empty (Identity Service API § Association
// lookup). token is that of the user who asks.
func (c *Client) Lookup(ctx context.Context, server, token, medium, address string) (matrix.UserID, error) {
	for try := 0; ; try++ {
		user, err := c.lookup(ctx, server, token, medium, address)
		if matrix.Code(err) != "M_INVALID_PEPPER" || try > 0 {
			return user, err
		}
	}
}

func (c *Client) lookup(ctx context.Context, server, token, medium, address string) (matrix.UserID, error) {
	bearer := "Bearer " + oneWord(token)
	answer, err := c.do(ctx, http.MethodGet, "https://"+server+"/_matrix/identity/v2/hash_details", bearer, nil)
	if err != nil {
		return "", err
	}
	var details struct {
		Pepper     string   `json:"lookup_pepper"`
		Algorithms []string `json:"algorithms"`
	}
	if json.Unmarshal(answer, &details) != nil {
		return "", unreachable("it answered nonsense")
	}
	// What is asked for in clear is asked for only where there is nothing else.
	key, algorithm := address+" "+medium, "none"
	if slices.Contains(details.Algorithms, "sha256") {
		hash := sha256.Sum256([]byte(key + " " + details.Pepper))
		key, algorithm = base64.RawURLEncoding.EncodeToString(hash[:]), "sha256"
	} else if !slices.Contains(details.Algorithms, "none") {
		return "", unreachable("it knows no algorithm that is known here")
	}
	body, err := json.Marshal(map[string]any{"addresses": []string{key}, "algorithm": algorithm, "pepper": details.Pepper})
	if err != nil {
		return "", err
	}
	if answer, err = c.post(ctx, server, "/_matrix/identity/v2/lookup", bearer, body); err != nil {
		return "", err
	}
	var found struct {
		Mappings map[string]matrix.UserID `json:"mappings"`
	}
	if json.Unmarshal(answer, &found) != nil {
		return "", unreachable("it answered nonsense")
	}
	user := found.Mappings[key]
	if user == "" {
		return "", nil
	}
	if _, err := matrix.ParseUserID(string(user)); err != nil {
		return "", unreachable("it answered nonsense")
	}
	return user, nil
}

// StoreInvite has an identity server keep an invitation and tell the invitee
// (Identity Service API § Invitation storage).
func (c *Client) StoreInvite(ctx context.Context, server, token string, invitation Invitation) (*Offer, error) {
	body, err := json.Marshal(invitation)
	if err != nil {
		return nil, err
	}
	answer, err := c.post(ctx, server, "/_matrix/identity/v2/store-invite", "Bearer "+oneWord(token), body)
	if err != nil {
		return nil, err
	}
	offer := new(Offer)
	if json.Unmarshal(answer, offer) != nil || !offer.sound() {
		return nil, unreachable("it answered nonsense")
	}
	return offer, nil
}

func (o *Offer) sound() bool {
	if !tokens.MatchString(o.Token) || len(o.DisplayName) > 1000 || len(o.PublicKeys) == 0 || len(o.PublicKeys) > maxKeys {
		return false
	}
	return !slices.ContainsFunc(o.PublicKeys, func(k PublicKey) bool { return k.Public() == nil || len(k.ValidityURL) > 2000 })
}

// KeyValid asks whether a key is still valid, at the address that was given
// with it. An address that is not on a server that the operator trusts is not
// asked: M_FORBIDDEN.
func (c *Client) KeyValid(ctx context.Context, key PublicKey) (bool, error) {
	u, err := url.Parse(key.ValidityURL)
	if err != nil || u.Scheme != "https" || u.User != nil || !c.Trusts(u.Host) {
		return false, matrix.Forbidden("This server does not trust the identity server that has signed.")
	}
	query := u.Query()
	query.Set("public_key", key.Key)
	u.RawQuery = query.Encode()
	answer, err := c.do(ctx, http.MethodGet, u.String(), "", nil)
	if err != nil {
		return false, err
	}
	var result struct {
		Valid bool `json:"valid"`
	}
	if json.Unmarshal(answer, &result) != nil {
		return false, unreachable("it answered nonsense")
	}
	return result.Valid, nil
}
