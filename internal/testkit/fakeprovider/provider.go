// Package fakeprovider is an identity provider for tests: it speaks OpenID
// Connect as the specification has it, logs everybody in without a question,
// and can be told to lie.
package fakeprovider

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A Provider is one that runs.
type Provider struct {
	URL          string // the issuer
	ClientID     string
	ClientSecret string

	t   testing.TB
	key *ecdsa.PrivateKey

	mu    sync.Mutex
	who   map[string]any
	lies  Lies
	codes map[string]request
	asked map[string]int
	last  url.Values
}

// Lies are what the provider does otherwise than it should. All are optional.
type Lies struct {
	Metadata func(m map[string]any)
	Token    func(claims map[string]any)                // before the ID token is signed
	Sign     func(claims map[string]any) string         // instead of signing it
	UserInfo func(claims map[string]any) map[string]any // instead of the claims
	Answer   func(path string, w http.ResponseWriter) bool
	Redirect func(query url.Values) // before the browser goes back
}

// request is what a code was given out for.
type request struct {
	redirect, challenge, nonce string
	claims                     map[string]any
}

// New starts a provider for one client. It ends with the test.
func New(t testing.TB) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key, ClientID: "trestle", ClientSecret: "s3cret & more", codes: map[string]request{}, asked: map[string]int{}}
	mux := http.NewServeMux()
	for path, handle := range map[string]http.HandlerFunc{
		"GET /.well-known/openid-configuration": p.metadata,
		"GET /keys":                             p.keys,
		"GET /authorize":                        p.authorize,
		"POST /token":                           p.token,
		"GET /userinfo":                         p.userInfo,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			p.asked[r.URL.Path]++
			answer := p.lies.Answer
			p.mu.Unlock()
			if answer == nil || !answer(r.URL.Path, w) {
				handle(w, r)
			}
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Be says who logs in from now on, by the claims.
func (p *Provider) Be(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.who = maps.Clone(claims)
}

// Lie says what the provider does otherwise from now on.
func (p *Provider) Lie(lies Lies) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lies = lies
}

// Asked is how often a path was asked for.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// Last is the query with which a browser last came.
func (p *Provider) Last() url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *Provider) told() Lies {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lies
}

func (p *Provider) metadata(w http.ResponseWriter, _ *http.Request) {
	m := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri": p.URL + "/keys", "userinfo_endpoint": p.URL + "/userinfo",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
	}
	if lie := p.told().Metadata; lie != nil {
		lie(m)
	}
	p.answer(w, http.StatusOK, m)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
}

// authorize logs in whoever it is, and sends the browser back with a code.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != p.ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("state") == "" {
		http.Error(w, "this is no request of the client", http.StatusBadRequest)
		p.t.Errorf("authorization was asked with %v", q)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code], p.last = request{q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce"), maps.Clone(p.who)}, q
	p.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}
	if lie := p.told().Redirect; lie != nil {
		lie(back)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token redeems a code, once.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if id == "" {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if id != p.ClientID || secret != p.ClientSecret {
		p.answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	code := r.PostFormValue("code")
	p.mu.Lock()
	asked, ok := p.codes[code]
	delete(p.codes, code)
	lies := p.lies
	p.mu.Unlock()
	hash := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || r.PostFormValue("redirect_uri") != asked.redirect || base64.RawURLEncoding.EncodeToString(hash[:]) != asked.challenge {
		p.answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := maps.Clone(asked.claims)
	now := time.Now().Unix()
	maps.Copy(claims, map[string]any{"iss": p.URL, "aud": p.ClientID, "iat": now, "exp": now + 60, "nonce": asked.nonce})
	if lies.Token != nil {
		lies.Token(claims)
	}
	sign := p.Sign
	if lies.Sign != nil {
		sign = lies.Sign
	}
	access := rand.Text()
	p.mu.Lock()
	p.codes["access "+access] = asked
	p.mu.Unlock()
	answer := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 60}
	if token := sign(claims); token != "" {
		answer["id_token"] = token
	}
	p.answer(w, http.StatusOK, answer)
}

func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	asked, ok := p.codes["access "+r.Header.Get("Authorization")[len("Bearer "):]]
	lies := p.lies
	p.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	claims := asked.claims
	if lies.UserInfo != nil {
		claims = lies.UserInfo(maps.Clone(claims))
	}
	p.answer(w, http.StatusOK, claims)
}

// Sign is claims as a token with the provider's key.
func (p *Provider) Sign(claims map[string]any) string {
	return SignWith(p.t, jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "one"}}, claims)
}

// PublicKey is the provider's, as one could take it for a shared secret.
func (p *Provider) PublicKey() []byte {
	raw, err := p.key.PublicKey.Bytes()
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

// SignWith is claims as a token with any key.
func SignWith(t testing.TB, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *Provider) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		p.t.Error(err)
	}
}
