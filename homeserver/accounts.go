package homeserver

import (
	"crypto/sha256"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

func (s *Server) accountOptions(key matrix.SigningKey, limiter *api.RateLimiter) accounts.Options {
	secret := sha256.Sum256(append([]byte("account tokens\x00"), key.Private.Seed()...))
	o := accounts.Options{
		ServerName: s.cfg.ServerName, DB: s.db, Store: storage.NewAccounts(s.db), AppServices: s.registry,
		Notifier: accountWaker{s}, Secret: secret[:], Log: s.log, LegacyMentions: s.cfg.Accounts.LegacyMentions,
		OpenRegistration: s.cfg.OpenRegistration, Guests: s.cfg.Registration.Guests,
		SharedSecret: s.cfg.RegistrationSharedSecret.Reveal(),
		Passwords: accounts.PasswordOptions{
			Bcrypt: s.cfg.Passwords.Hash == "bcrypt", BcryptCost: s.cfg.Passwords.BcryptCost,
			Memory: uint32(s.cfg.Passwords.Memory >> 10), Iterations: uint32(s.cfg.Passwords.Iterations),
			AtOnce: s.cfg.Passwords.AtOnce, MinLength: s.cfg.Passwords.MinLength,
		},
	}
	s.identityOptions(&o)
	o.Reserved = reserved(s.cfg)
	for _, token := range s.cfg.Registration.Tokens {
		o.RegistrationTokens = append(o.RegistrationTokens, token.Reveal())
	}
	if limiter != nil {
		o.Limiter = limiter
	}
	return o
}

// reserved are the names of the server's own users.
func reserved(cfg *config.Config) []string {
	if cfg.Notices.LocalPart == "" {
		return nil
	}
	return []string{cfg.Notices.LocalPart}
}

func (s *Server) limiter() *api.RateLimiter {
	if s.cfg.NoRateLimits {
		return nil
	}
	rates := map[string]api.Rate{}
	for name, limit := range s.cfg.RateLimits {
		rates[name] = api.Rate{PerSecond: limit.PerSecond, Burst: limit.Burst}
	}
	return api.NewRateLimiter(rates, time.Now)
}
