package config

import (
	"net/netip"
	"net/url"
	"strings"

	"trestle/internal/matrix"
)

// Previews are what clients show of the links in messages. The server fetches
// what users name, so that what it may reach is limited.
type Previews struct {
	Enabled        bool     `yaml:"enabled"`
	AllowAddresses []string `yaml:"allow_addresses"` // ranges, though private
	DenyAddresses  []string `yaml:"deny_addresses"`  // ranges, though public
	AllowHosts     []string `yaml:"allow_hosts"`     // these only; empty: all
	DenyHosts      []string `yaml:"deny_hosts"`
	Ports          []int    `yaml:"ports"` // empty: all
	MaxPage        Size     `yaml:"max_page"`
	MaxImage       Size     `yaml:"max_image"`
	MaxKept        Size     `yaml:"max_kept"` // of all images together; 0: any number
	Timeout        Duration `yaml:"timeout"`
	Lifetime       Duration `yaml:"lifetime"`
	Language       string   `yaml:"language"`
}

// Ranges reads ranges of addresses, or single addresses.
func Ranges(texts []string) []netip.Prefix {
	var ranges []netip.Prefix
	for _, text := range texts {
		if prefix, err := parseProxy(text); err == nil {
			ranges = append(ranges, prefix)
		}
	}
	return ranges
}

// MatchHost reports whether a host is one of the patterns: example.org, or
// *.example.org for that and all below.
func MatchHost(patterns []string, host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range patterns {
		pattern = strings.ToLower(pattern)
		if parent, ok := strings.CutPrefix(pattern, "*."); ok {
			if host == parent || strings.HasSuffix(host, "."+parent) {
				return true
			}
		} else if host == pattern {
			return true
		}
	}
	return false
}

// Retention says how long media stay that nobody asks for; 0: for ever.
type Retention struct {
	Local    Duration `yaml:"local"`
	Remote   Duration `yaml:"remote"`   // of other servers, which have them still
	Previews Duration `yaml:"previews"` // pictures of previewed pages
}

// S3 keeps the media in a bucket instead of the folder.
type S3 struct {
	Endpoint  string `yaml:"endpoint"` // https://s3.example.org; empty: off
	Bucket    string `yaml:"bucket"`
	Prefix    string `yaml:"prefix"`
	Region    string `yaml:"region"`
	AccessKey string `yaml:"access_key"`
	SecretKey Secret `yaml:"secret_key"`
	PathStyle bool   `yaml:"path_style"` // the bucket is in the path, not in the host
}

// Notices are messages of the server to its users.
type Notices struct {
	LocalPart   string `yaml:"local_part"` // of the sender; empty: no notices
	DisplayName string `yaml:"display_name"`
	AvatarURL   string `yaml:"avatar_url"`
	RoomName    string `yaml:"room_name"`
	RoomTopic   string `yaml:"room_topic"`
	AutoJoin    bool   `yaml:"auto_join"` // without an invite
}

func (l *loader) validateOperator() {
	p := l.cfg.Media.Previews
	for key, list := range map[string][]string{"allow_addresses": p.AllowAddresses, "deny_addresses": p.DenyAddresses} {
		for i, text := range list {
			if _, err := parseProxy(text); err != nil {
				l.invalidf(item("media.previews."+key, i), "%q is not an address or a range such as 10.0.0.0/8", text)
			}
		}
	}
	for i, port := range p.Ports {
		l.within(item("media.previews.ports", i), port, 1, 65535)
	}
	if p.MaxPage < 1024 || p.MaxPage > 64<<20 {
		l.invalidf("media.previews.max_page", "must be from 1 KiB to 64 MiB")
	}
	if p.MaxImage < 1024 || p.MaxImage > 256<<20 {
		l.invalidf("media.previews.max_image", "must be from 1 KiB to 256 MiB")
	}
	if p.MaxKept != 0 && p.MaxKept < p.MaxImage {
		l.invalidf("media.previews.max_kept", "must be at least media.previews.max_image, or 0")
	}
	if p.Timeout <= 0 {
		l.invalidf("media.previews.timeout", "must be above 0")
	}
	l.validateS3()
	n := l.cfg.Notices
	if n.LocalPart != "" && !matrix.ValidLocalpart(n.LocalPart) {
		l.invalidf("server_notices.local_part", "%q cannot be a user's name", n.LocalPart)
	}
}

func (l *loader) validateS3() {
	s := l.cfg.Media.S3
	if s.Endpoint == "" {
		return
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		l.invalidf("media.s3.endpoint", "%q is not a URL such as https://s3.example.org", s.Endpoint)
	}
	if s.Bucket == "" {
		l.invalidf("media.s3.bucket", "needs a name")
	}
	if s.AccessKey == "" || s.SecretKey == "" {
		l.invalidf("media.s3.access_key", "access_key and secret_key are needed")
	}
}
