package oauth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// ID tokens are what OpenID Connect adds to OAuth 2.0 (OpenID Connect Core § 2).
// Matrix does not need them, but the clients of before version 1.15 of its
// specification do not log in without one, nor without the key that it is
// signed with.

const idTokenLifetime = time.Hour

// newKey is the key that ID tokens are signed with; a server keeps it as long
// as its secret.
func newKey(secret []byte) ed25519.PrivateKey {
	seed := sha256.Sum256(append([]byte("id tokens\x00"), secret...))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Keys are the public keys of ID tokens (RFC 7517).
type Keys struct {
	Keys []Key `json:"keys"`
}

// A Key is an Ed25519 key (RFC 8037).
type Key struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	ID        string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

// Keys are those of this server.
func (s *Service) Keys() *Keys {
	public := s.key.Public().(ed25519.PublicKey)
	return &Keys{[]Key{{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(public), s.keyID(), "sig", "EdDSA"}}}
}

func (s *Service) keyID() string {
	sum := sha256.Sum256(s.key.Public().(ed25519.PublicKey))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// idToken says to a client who has allowed it (RFC 7519, RFC 8037).
func (s *Service) idToken(g *grant) (string, error) {
	now := s.options.Now()
	header, err := json.Marshal(map[string]string{"alg": "EdDSA", "typ": "JWT", "kid": s.keyID()})
	if err != nil {
		return "", err
	}
	claims := map[string]any{
		"iss": s.Issuer(), "sub": g.user, "aud": g.clientID, "iat": now.Unix(), "exp": now.Add(idTokenLifetime).Unix(),
	}
	if g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(signed))), nil
}
