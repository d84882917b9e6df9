package identity_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"trestle/homeserver/identity"
	"trestle/internal/matrix"
)

// answers is an identity server that answers one thing.
type answers []byte

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}

func client(answer []byte) *identity.Client {
	return identity.New(identity.Options{ServerName: "hs", Trusted: []string{"id.example"}, HTTP: &http.Client{Transport: answers(answer)}})
}

const key = "6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s"

// Keys are asked about on trusted servers only, and in no other way than TLS.
func TestKeyValid(t *testing.T) {
	for address, trusted := range map[string]bool{
		"https://id.example/valid":           true,
		"https://id.example/valid?a=b":       true,
		"http://id.example/valid":            false,
		"https://evil.example/valid":         false,
		"https://id.example@evil.example/x":  false,
		"https://evil.example/id.example":    false,
		"https://id.example:444/valid":       false,
		"https://user:pass@id.example/valid": false,
		"gopher://id.example":                false,
		"":                                   false,
		"%":                                  false,
	} {
		valid, err := client([]byte(`{"valid":true}`)).KeyValid(t.Context(), identity.PublicKey{Key: key, ValidityURL: address})
		if valid != trusted || trusted != (err == nil) {
			t.Errorf("%q: %v, %v", address, valid, err)
		}
	}
}

// Whatever an identity server answers, it is of use or refused.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"lookup_pepper":"p","algorithms":["none"],"mappings":{"a@example.org email":"@a:hs"}}`))
	f.Add([]byte(`{"token":"t","display_name":"a...","public_keys":[{"public_key":"` + key + `","key_validity_url":"https://id.example"}]}`))
	f.Add([]byte(`{"valid":"yes"}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := client(answer)
		user, err := c.Lookup(t.Context(), "id.example", "token", "email", "a@example.org")
		if user != "" {
			if _, wrong := matrix.ParseUserID(string(user)); wrong != nil || err != nil {
				t.Errorf("%q is a user: %v", user, err)
			}
		}
		offer, err := c.StoreInvite(t.Context(), "id.example", "token", identity.Invitation{})
		if err == nil && (offer.Token == "" || len(offer.Token) > 255 || strings.Contains(offer.Token, "\x00") || offer.PublicKeys[0].Public() == nil) {
			t.Errorf("an offer: %+v", offer)
		}
		if _, err := c.KeyValid(t.Context(), identity.PublicKey{Key: key, ValidityURL: "https://id.example/valid"}); err != nil && matrix.Code(err) == "" {
			t.Error(err)
		}
	})
}
