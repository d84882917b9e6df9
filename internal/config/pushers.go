package config

import "time"

// Pushers are how users are notified where no client of theirs is connected.
// Requests go to gateways that users name, so that what may be reached is
// limited.
type Pushers struct {
	AllowHTTP      bool     `yaml:"allow_http"`      // gateways need no TLS
	AllowAddresses []string `yaml:"allow_addresses"` // ranges, though private
	DenyAddresses  []string `yaml:"deny_addresses"`  // ranges, though public
	Timeout        Duration `yaml:"timeout"`
	AtOnce         int      `yaml:"at_once"` // requests under way
	GiveUp         Duration `yaml:"give_up"` // older notifications are not sent
	MailDelay      Duration `yaml:"mail_delay"`
}

func (l *loader) validatePushers() {
	p := l.cfg.Pushers
	for key, list := range map[string][]string{"allow_addresses": p.AllowAddresses, "deny_addresses": p.DenyAddresses} {
		for i, text := range list {
			if _, err := parseProxy(text); err != nil {
				l.invalidf(item("pushers."+key, i), "%q is not an address or a range such as 10.0.0.0/8", text)
			}
		}
	}
	l.within("pushers.at_once", p.AtOnce, 1, 10_000)
	for key, d := range map[string]Duration{"timeout": p.Timeout, "give_up": p.GiveUp, "mail_delay": p.MailDelay} {
		if d.Std() < time.Second {
			l.invalidf("pushers."+key, "must be one second or more")
		}
	}
}
