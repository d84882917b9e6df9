package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"trestle/internal/matrix"
)

// nonceLifetime is how long a nonce of [Service.Nonce] is good for.
const nonceLifetime = time.Minute

// A SecretRegistration is a registration by a script that knows the shared
// secret. The protocol is Synapse's, which the scripts speak: MAC is the
// HMAC-SHA1, in hex, of nonce, user name, password, "admin" or "notadmin", and
// the user type if there is one, with NUL in between.
type SecretRegistration struct {
	Nonce       string
	Username    string
	Password    string
	DisplayName string
	Admin       bool
	UserType    string
	MAC         string
	Login       *NewDevice
}

// Nonce begins a registration by shared secret. Replaying one is pointless:
// what it was used for says the name, which is then taken.
func (s *Service) Nonce() (string, error) {
	if s.options.SharedSecret == "" {
		return "", secretOff()
	}
	payload := make([]byte, 16, 16+sha256.Size)
	binary.BigEndian.PutUint64(payload, uint64(s.now()))
	_, _ = rand.Read(payload[8:]) // never fails
	return hex.EncodeToString(append(payload, s.nonceMAC(payload)...)), nil
}

func (s *Service) nonceMAC(payload []byte) []byte {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("nonce"))
	mac.Write(payload)
	return mac.Sum(nil)
}

func (s *Service) validNonce(nonce string) bool {
	raw, err := hex.DecodeString(nonce)
	if err != nil || len(raw) != 16+sha256.Size || !hmac.Equal(raw[16:], s.nonceMAC(raw[:16])) {
		return false
	}
	return s.now()-int64(binary.BigEndian.Uint64(raw)) < nonceLifetime.Milliseconds()
}

// RegisterBySecret makes an account for whoever knows the shared secret.
func (s *Service) RegisterBySecret(ctx context.Context, r SecretRegistration) (*Login, error) {
	switch {
	case s.options.SharedSecret == "":
		return nil, secretOff()
	case !s.validNonce(r.Nonce):
		return nil, matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "The nonce is unknown or too old.")
	case !s.validMAC(r):
		return nil, matrix.Forbidden("The mac is wrong.")
	}
	return s.Register(ctx, Registration{
		Username: r.Username, Password: r.Password, Admin: r.Admin, DisplayName: r.DisplayName, Login: r.Login,
	})
}

func (s *Service) validMAC(r SecretRegistration) bool {
	parts := []string{r.Nonce, r.Username, r.Password, "notadmin"}
	if r.Admin {
		parts[3] = "admin"
	}
	if r.UserType != "" {
		parts = append(parts, r.UserType)
	}
	given, err := hex.DecodeString(r.MAC)
	if err != nil {
		return false
	}
	mac := hmac.New(sha1.New, []byte(s.options.SharedSecret))
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return hmac.Equal(given, mac.Sum(nil))
}

func secretOff() error {
	return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "Registration by shared secret is not set up on this server.")
}
