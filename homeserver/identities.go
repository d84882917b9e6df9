package homeserver

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"trestle/homeserver/accounts"
	"trestle/homeserver/mail"
	"trestle/internal/matrix"
)

// newMailer is the configured relay, or nil.
func (s *Server) newMailer() (*mail.Relay, error) {
	c := s.cfg.Mail
	if c.Relay == "" {
		return nil, nil
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	return mail.NewRelay(mail.Options{
		Address: c.Relay, Security: c.Security, Username: c.Username, Password: c.Password.Reveal(), From: c.From,
		Timeout: c.Timeout.Std(), Roots: roots, Hello: hostOf(s.cfg.ServerName),
	})
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
		o.Mailer = s.mailer
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
