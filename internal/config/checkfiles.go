package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
)

// checkFiles opens the files that an operator has to bring, so that a wrong
// path is named with its line and not by a listener that does not come up.
func (l *loader) checkFiles() {
	c := l.cfg
	if c.TLSCert != "" && c.TLSKey != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			l.invalidf("tls_cert", "%s", err)
		}
	}
	if err := checkAuthorities(c.CAFile); err != nil {
		l.invalidf("ca_file", "%s", err)
	}
	for i, path := range c.AppServices {
		// The default folder is made at the first start; another one must be there.
		key := item("appservices", i)
		if _, err := os.Stat(path); err != nil && (!errors.Is(err, fs.ErrNotExist) || l.originOf("appservices").layer != layerDefault && path != c.InData("appservices")) {
			l.invalidf(key, "%s", err)
		}
	}
	if c.Mail.Templates != "" {
		if _, err := os.ReadDir(c.Mail.Templates); err != nil {
			l.invalidf("mail.templates", "%s", err)
		}
	}
	if c.NoBridges {
		return
	}
	for _, name := range sortedKeys(reflect.ValueOf(c.Bridges.IRC.Networks)) {
		network, key := c.Bridges.IRC.Networks[name], "bridges.irc.networks."+name
		if !network.Enabled {
			continue
		}
		if err := checkAuthorities(network.CAFile); err != nil {
			l.invalidf(key+".ca_file", "%s", err)
		}
		if network.SASL.Mechanism == "EXTERNAL" {
			if _, err := tls.LoadX509KeyPair(network.SASL.Cert, network.SASL.Key); err != nil {
				l.invalidf(key+".sasl", "%s", err)
			}
		}
	}
}

func checkAuthorities(path string) error {
	if path == "" {
		return nil
	}
	text, err := readLimited(path)
	if err != nil {
		return err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Errorf("%s holds no PEM certificate", path)
	}
	return nil
}
