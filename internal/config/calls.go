package config

import (
	"encoding/base64"
	"regexp"
	"strings"
	"time"
)

// Calls are what clients need for talking to one another by voice and video.
type Calls struct {
	TURN TURN `yaml:"turn"`
	// LiveKit are the addresses of services that let clients into a LiveKit
	// server, the preferred one first.
	LiveKit []string `yaml:"livekit"`
}

// TURN is a relay for calls between two. With a shared secret, clients get
// credentials that expire; else the username and the password.
type TURN struct {
	URIs         []string `yaml:"uris"` // turn:host:port?transport=udp; none: there is no relay
	SharedSecret Secret   `yaml:"shared_secret"`
	Username     string   `yaml:"username"`
	Password     Secret   `yaml:"password"`
	Lifetime     Duration `yaml:"lifetime"`
	Guests       bool     `yaml:"guests"`
}

// DelayedEvents are events that clients have sent later.
type DelayedEvents struct {
	MaxDelay   Duration `yaml:"max_delay"` // 0: none are taken
	MaxPerUser int      `yaml:"max_per_user"`
}

// turnURI is RFC 7065, section 3.1, without what clients do not understand.
var turnURI = regexp.MustCompile(`^turns?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(\?transport=(udp|tcp))?$`)

func (l *loader) validateCalls() {
	t := l.cfg.Calls.TURN
	for i, uri := range t.URIs {
		if !turnURI.MatchString(uri) {
			l.invalidf(item("calls.turn.uris", i), "%.80q is no URI such as turn:turn.example.org:3478?transport=udp", uri)
		}
	}
	if len(t.URIs) > 0 && t.SharedSecret == "" && (t.Username == "" || t.Password == "") {
		l.invalidf("calls.turn.shared_secret", "is needed, or else username and password")
	}
	if t.Lifetime.Std() < time.Minute {
		l.invalidf("calls.turn.lifetime", "must be one minute or more")
	}
	for i, address := range l.cfg.Calls.LiveKit {
		if !isWebAddress(address) {
			l.invalidf(item("calls.livekit", i), "%.80q is not a URL", address)
		}
	}
	if d := l.cfg.Delayed.MaxDelay.Std(); d < 0 || d > 366*24*time.Hour {
		l.invalidf("delayed_events.max_delay", "must be from 0s to 366d")
	}
	l.within("delayed_events.max_per_user", l.cfg.Delayed.MaxPerUser, 1, 10_000)
	if key := l.cfg.PolicyServerKey; key != "" && !isPublicKey(key) {
		l.invalidf("policy_server_key", "%.80q is no ed25519 key in base64 without padding", key)
	}
}

// isPublicKey accepts both alphabets: the specification's example has that of URLs.
func isPublicKey(text string) bool {
	raw, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(text))
	return err == nil && len(raw) == 32
}
