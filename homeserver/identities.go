package homeserver

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"

	"trestle/homeserver/accounts"
	"trestle/homeserver/identity"
	"trestle/homeserver/invites"
	"trestle/homeserver/mail"
	"trestle/homeserver/pushers"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// connectOutside prepares for whom the accounts turn to: the relay for mails
// and identity servers, as far as there are any.
func (s *Server) connectOutside(key matrix.SigningKey) error {
	roots, err := s.roots()
	if err != nil {
		return err
	}
	if trusted := s.cfg.Accounts.IdentityServers; len(trusted) > 0 {
		s.identity = identity.New(identity.Options{
			ServerName: s.cfg.ServerName, Key: key, Trusted: trusted,
			HTTP: &http.Client{
				Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		})
	}
	c := s.cfg.Mail
	if c.Relay == "" {
		return nil
	}
	s.mailer, err = mail.NewRelay(mail.Options{
		Address: c.Relay, Security: c.Security, Username: c.Username, Password: c.Password.Reveal(), From: c.From,
		Timeout: c.Timeout.Std(), Roots: roots, Hello: hostOf(s.cfg.ServerName),
	})
	if err != nil {
		return err
	}
	kinds := accounts.MailKinds()
	maps.Copy(kinds, pushers.MailKinds())
	if s.mails, err = mail.ReadFolder(c.Templates, kinds); err != nil {
		return fmt.Errorf("mail.templates: %w", err)
	}
	return nil
}

// newInvites invites by address, where an identity server is trusted.
func (s *Server) newInvites() *invites.Service {
	o := invites.Options{DB: s.db, Invites: storage.NewThreePIDInvites(s.db), Rooms: s.rooms, Profiles: s.accounts, Log: s.log}
	if s.identity != nil {
		o.Identity = s.identity
	}
	return invites.New(o)
}

// hostOf is a server name without its port.
func hostOf(name matrix.ServerName) string {
	if host, _, err := net.SplitHostPort(string(name)); err == nil {
		return host
	}
	return string(name)
}

// roots are the certificate authorities that are trusted; nil: the system's.
func (s *Server) roots() (*x509.CertPool, error) {
	if s.cfg.CAFile == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(s.cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no certificate", s.cfg.CAFile)
	}
	return pool, nil
}

// identityOptions says who people are beyond their names.
func (s *Server) identityOptions(o *accounts.Options) {
	c := s.cfg.Registration
	if s.mailer != nil {
		o.Mailer, o.Mails = s.mailer, s.mails
	}
	if s.identity != nil {
		o.Identity = s.identity
	}
	o.BaseURL, o.HideAddresses, o.EmailAtStart, o.HumanIDs = s.cfg.BaseURL(), s.cfg.Mail.HideAddresses, c.Email, c.HumanIDs
	o.MaxDevices, o.MaxAccountData = s.cfg.Accounts.MaxDevices, s.cfg.Accounts.MaxAccountData
	o.Terms = map[string]accounts.Policy{}
	for id, policy := range c.Terms {
		languages := map[string]accounts.Document{}
		for tag, document := range policy.Languages {
			languages[tag] = accounts.Document{Name: document.Name, URL: document.URL}
		}
		o.Terms[id] = accounts.Policy{Version: policy.Version, Languages: languages}
	}
	if c.Captcha.SiteKey != "" {
		o.Captcha = &accounts.CaptchaOptions{
			SiteKey: c.Captcha.SiteKey, Secret: c.Captcha.Secret.Reveal(),
			Verifier: c.Captcha.Verifier, Script: c.Captcha.Script, Class: c.Captcha.Class,
		}
	}
}
