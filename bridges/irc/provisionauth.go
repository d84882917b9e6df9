package irc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	sessionLifetime = time.Hour
	maxSessions     = 1000
	exchangeWait    = 10 * time.Second
	maxUserInfo     = 4 << 10 // bytes of the homeserver's answer
	foreignAtOnce   = 4       // homeservers of others that are asked; strangers choose them
)

// A provisioner is who uses the provisioning API.
type provisioner struct {
	user    matrix.UserID // whose session it is
	anybody bool          // a program that may act for anybody: it has the secret
	token   [32]byte      // hashed
}

// A session is somebody who has shown who they are.
type session struct {
	user  matrix.UserID
	until time.Time
}

// sessions are kept in memory: whoever has one gets another by the same way.
type sessions struct{ all *lru.Cache[[32]byte, session] }

func newSessions() *sessions { return &sessions{lru.New[[32]byte, session](maxSessions, nil)} }

// begin makes a session and returns its token.
func (s *sessions) begin(user matrix.UserID, now time.Time) (token string) {
	token = rand.Text()
	s.all.Put(sha256.Sum256([]byte(token)), session{user, now.Add(sessionLifetime)})
	return token
}

// whoProvisions reads the token of a request.
func (s *Service) whoProvisions(r *http.Request) (provisioner, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return provisioner{}, matrix.MissingToken()
	}
	given := sha256.Sum256([]byte(token))
	if secret := sha256.Sum256([]byte(s.config.Provisioning)); s.config.Provisioning != "" && subtle.ConstantTimeCompare(given[:], secret[:]) == 1 {
		return provisioner{anybody: true}, nil
	}
	one, ok := s.sessions.all.Get(given)
	if !ok || time.Now().After(one.until) {
		return provisioner{}, matrix.UnknownToken(false)
	}
	return provisioner{user: one.user, token: given}, nil
}

// exchangeOpenID makes a session of an OpenID token, as the user's homeserver gives to those who ask for it.
func (s *Service) exchangeOpenID(r *http.Request, _ provisioner) (any, error) {
	var q struct {
		Token  string            `json:"openIdToken"`
		Server matrix.ServerName `json:"matrixServer"`
	}
	if err := readJSON(r.Body, &q); err != nil {
		return nil, err
	}
	switch {
	case q.Token == "" || len(q.Token) > 1000:
		return nil, matrix.MissingParam("openIdToken is missing.")
	case q.Server != s.config.ServerName && s.config.Federation == nil:
		return nil, matrix.Forbidden("Only users of %s can do that here.", s.config.ServerName)
	}
	ctx, cancel := context.WithTimeout(r.Context(), exchangeWait)
	defer cancel()
	api, base := http.DefaultClient, strings.TrimSuffix(s.config.HomeserverURL, "/")
	if q.Server != s.config.ServerName {
		select {
		case s.foreign <- struct{}{}:
			defer func() { <-s.foreign }()
		default:
			return nil, matrix.LimitExceeded(exchangeWait)
		}
		if _, err := matrix.ParseServerName(string(q.Server)); err != nil {
			return nil, matrix.InvalidParam("matrixServer is no server's name.")
		}
		api = &http.Client{
			Transport:     s.config.Federation,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		base = "https://" + string(q.Server)
	}
	user, err := s.userInfo(ctx, api, base, q.Server, q.Token)
	if err != nil {
		return nil, err
	}
	return map[string]string{"token": s.sessions.begin(user, time.Now()), "userId": string(user)}, nil
}

// userInfo asks a homeserver whose an OpenID token is (Server-Server API § OpenID). It can say that of its own
// users only.
func (s *Service) userInfo(ctx context.Context, api *http.Client, base string, server matrix.ServerName, token string) (matrix.UserID, error) {
	address := base + "/_matrix/federation/v1/openid/userinfo?access_token=" + url.QueryEscape(token)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", matrix.Unknown()
	}
	away := matrix.NewError(http.StatusBadGateway, "M_CONNECTION_FAILED", "The homeserver does not say whose the token is.")
	resp, err := api.Do(req)
	if err != nil {
		return "", away
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxUserInfo))
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return "", matrix.Forbidden("The homeserver does not know the token.")
	case err != nil || resp.StatusCode != http.StatusOK:
		return "", away
	}
	var info struct {
		Subject matrix.UserID `json:"sub"`
	}
	_ = json.Unmarshal(raw, &info)
	user, err := matrix.ParseUserID(string(info.Subject))
	if err != nil || user.Server() != server {
		return "", matrix.Forbidden("The token is nobody's of %s.", server)
	}
	if _, ghost := s.Ghost(user); ghost {
		return "", matrix.Forbidden("Virtual users cannot do that.")
	}
	return user, nil
}

func (s *Service) showSession(_ *http.Request, who provisioner) (any, error) {
	return map[string]any{"userId": who.user, "anybody": who.anybody}, nil
}

func (s *Service) endSession(_ *http.Request, who provisioner) (any, error) {
	s.sessions.all.Delete(who.token)
	return struct{}{}, nil
}
