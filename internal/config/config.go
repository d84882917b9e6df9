package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"trestle/internal/matrix"
)

// Config is the whole configuration. The tags say how each setting is read:
//
//	yaml:"name"     the key
//	flag:"usage"    there is a flag of that name too
//	config:"path"   a file or folder: relative ones are in the data folder
//	config:"fixed"  a map whose keys are those of the defaults, no others
//	config:"networks"  IRC networks in short, which are added to the others
//
// Fields of type [Secret] can also be read from a file: the key with _file
// behind it names that file.
type Config struct {
	ServerName       matrix.ServerName `yaml:"server_name" flag:"the NAME behind the colon in user IDs; never changes once users exist"`
	Data             string            `yaml:"data" config:"path" flag:"the FOLDER for database, keys and media"`
	Listen           []string          `yaml:"listen" flag:"serve the client API on this ADDRESS: host:port, tls:host:port or unix:/path (repeatable)"`
	FederationListen []string          `yaml:"federation_listen" flag:"serve the federation API on this ADDRESS, with TLS if there is a certificate (repeatable)"`
	TLSCert          string            `yaml:"tls_cert" config:"path" flag:"the FILE with the certificate chain, PEM"`
	TLSKey           string            `yaml:"tls_key" config:"path" flag:"the FILE with the certificate's private key, PEM"`
	CAFile           string            `yaml:"ca_file" config:"path" flag:"trust the certificate authorities in this FILE when talking to other servers"`
	Database         Secret            `yaml:"database" config:"database" flag:"an SQLite FILE or a postgres:// URL"`
	Cluster          string            `yaml:"cluster" flag:"share the PostgreSQL database with other processes, which reach this one at this ADDRESS: host:port"`
	AppServices      []string          `yaml:"appservices" config:"path" flag:"read application services' registrations from this FOLDER (repeatable)"`

	RegistrationSharedSecret Secret   `yaml:"registration_shared_secret" flag:"the SECRET that lets scripts register users"`
	OpenRegistration         bool     `yaml:"open_registration" flag:"let anybody register without a token"`
	NoRateLimits             bool     `yaml:"no_rate_limits" flag:"switch all rate limits off"`
	NoBridges                bool     `yaml:"no_bridges" flag:"do not run the bundled bridges"`
	IRCNetwork               []string `yaml:"irc_network" config:"networks" flag:"bridge the IRC NETWORK: NAME=HOST:PORT[,tls] (repeatable)"`

	PublicBaseURL   string   `yaml:"public_base_url"`
	SigningKey      string   `yaml:"signing_key" config:"path"`
	TrustedProxies  []string `yaml:"trusted_proxies"`
	MaxBody         Size     `yaml:"max_body"`
	PolicyServerKey string   `yaml:"policy_server_key"`
	ShutdownTimeout Duration `yaml:"shutdown_timeout"`

	Registration Registration         `yaml:"registration"`
	Passwords    Passwords            `yaml:"passwords"`
	Mail         Mail                 `yaml:"mail"`
	Pushers      Pushers              `yaml:"pushers"`
	Accounts     Accounts             `yaml:"accounts"`
	OAuth        OAuth                `yaml:"oauth"`
	Console      Console              `yaml:"console"`
	SSO          SSO                  `yaml:"sso"`
	Rooms        Rooms                `yaml:"rooms"`
	Delayed      DelayedEvents        `yaml:"delayed_events"`
	Calls        Calls                `yaml:"calls"`
	WellKnown    WellKnown            `yaml:"well_known"`
	Federation   Federation           `yaml:"federation"`
	Media        Media                `yaml:"media"`
	Notices      Notices              `yaml:"server_notices"`
	RateLimits   map[string]RateLimit `yaml:"rate_limits" config:"fixed"`
	Logging      Logging              `yaml:"logging"`
	Presence     Presence             `yaml:"presence"`
	Metrics      Metrics              `yaml:"metrics"`
	Bridges      Bridges              `yaml:"bridges"`

	// File is the configuration file that was read, empty if none was.
	File string `yaml:"-"`
	// Warnings are oddities that do not stop the server.
	Warnings []string `yaml:"-"`

	source Source `yaml:"-"`
}

// Registration says who may open an account, besides everybody
// (open_registration) and scripts (registration_shared_secret).
type Registration struct {
	Tokens []Secret `yaml:"tokens"` // each lets its holder register, any number of times
	Guests bool     `yaml:"guests"` // accounts that need nothing and may do little
	// AppServices are as_tokens: who has one registers an application service
	// over HTTP.
	AppServices []Secret `yaml:"appservice_tokens"`
	// Email says whether people give a mail address: off, optional, required.
	Email    string            `yaml:"email"`
	Terms    map[string]Policy `yaml:"terms"` // by an ID of A-Z a-z 0-9 _ -
	Captcha  Captcha           `yaml:"captcha"`
	HumanIDs bool              `yaml:"human_ids"` // refuse names that look like others
}

// A Policy is something that people agree to when they register.
type Policy struct {
	Version   string                    `yaml:"version"`
	Languages map[string]PolicyDocument `yaml:"languages"` // by language tag
}

// A PolicyDocument is a policy in one language.
type PolicyDocument struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
}

// Captcha is a service that tells people from machines; without a site key
// there is none.
type Captcha struct {
	SiteKey  string `yaml:"site_key"`
	Secret   Secret `yaml:"secret"`
	Verifier string `yaml:"verifier"`
	Script   string `yaml:"script"`
	Class    string `yaml:"class"` // of the element that the script fills in
}

// Mail is how the server sends mails; without a relay it sends none.
type Mail struct {
	Relay         string   `yaml:"relay"`
	Security      string   `yaml:"security"` // starttls, tls, none
	Username      string   `yaml:"username"`
	Password      Secret   `yaml:"password"`
	From          string   `yaml:"from"`
	Templates     string   `yaml:"templates" config:"path"` // folder; empty: the server's own words
	Timeout       Duration `yaml:"timeout"`
	HideAddresses bool     `yaml:"hide_addresses"`
}

// Accounts is what one account may hold, and whom its owner may tell of it.
type Accounts struct {
	MaxDevices     int `yaml:"max_devices"`
	MaxAccountData int `yaml:"max_account_data"` // pieces
	// IdentityServers may be told which address is whose, if its owner wants it.
	IdentityServers []string `yaml:"identity_servers"`
	// LegacyMentions notifies people of their names in texts that do not say
	// whom they mention.
	LegacyMentions bool `yaml:"legacy_mentions"`
}

// OAuth is the OAuth 2.0 API, with pages at public_base_url; without that there
// is none.
type OAuth struct {
	Enabled bool `yaml:"enabled"`
}

// Console is the operator's console, pages at /_trestle/console.
type Console struct {
	Enabled bool `yaml:"enabled"`
}

// Presence is who is there. Without it nobody is shown, whatever clients set.
type Presence struct {
	Enabled   bool     `yaml:"enabled"`
	IdleAfter Duration `yaml:"idle_after"` // from when somebody who does nothing is unavailable
}

// Passwords is how passwords are kept.
type Passwords struct {
	Hash       string `yaml:"hash"` // argon2id or bcrypt, for new hashes; both are verified
	Memory     Size   `yaml:"memory"`
	Iterations int    `yaml:"iterations"`
	BcryptCost int    `yaml:"bcrypt_cost"`
	AtOnce     int    `yaml:"at_once"` // hashes computed at the same time; the others wait
	MinLength  int    `yaml:"min_length"`
}

// Rooms are defaults for rooms created here.
type Rooms struct {
	DefaultVersion string `yaml:"default_version"`
}

// Media is the content repository.
type Media struct {
	Path       string      `yaml:"path" config:"path"`
	MaxUpload  Size        `yaml:"max_upload"`
	MaxPerUser Size        `yaml:"max_per_user"` // 0: any number
	MaxRemote  Size        `yaml:"max_remote"`   // of media of other servers together; 0: any number
	MaxPixels  int64       `yaml:"max_pixels"`   // larger pictures get no thumbnail
	Thumbnails []Thumbnail `yaml:"thumbnails"`
	// AllowUnauthenticated serves new media to people without an account, too.
	AllowUnauthenticated bool `yaml:"allow_unauthenticated"`

	Previews  Previews  `yaml:"previews"`
	Retention Retention `yaml:"retention"`
	S3        S3        `yaml:"s3"`
}

// A Thumbnail is a size in which thumbnails are kept; requests get the
// smallest that is large enough.
type Thumbnail struct {
	Width  int    `yaml:"width"`
	Height int    `yaml:"height"`
	Method string `yaml:"method"` // scale or crop
}

// A RateLimit is a bucket: PerSecond drops flow in, Burst is its size.
type RateLimit struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     int     `yaml:"burst"`
}

// Logging says what goes to standard error.
type Logging struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// Metrics are for Prometheus.
type Metrics struct {
	Enabled bool   `yaml:"enabled"`
	Listen  string `yaml:"listen"` // empty: beside the client API, for direct callers only
	Path    string `yaml:"path"`
}

// Bridges are the bundled bridges.
type Bridges struct {
	IRC IRC `yaml:"irc"`
}

// IRC is the bundled IRC bridge.
type IRC struct {
	Database Secret                `yaml:"database" config:"database"`
	BotUser  string                `yaml:"bot_user"` // local part of the bridge's own Matrix user
	Links    IRCLinks              `yaml:"links"`
	Identd   string                `yaml:"identd"` // host:port for RFC 1413; empty: nowhere
	Plumbing IRCPlumbing           `yaml:"plumbing"`
	Networks map[string]IRCNetwork `yaml:"networks"`
}

// IRCLinks are the addresses that people on IRC get for files and long texts.
type IRCLinks struct {
	PublicURL string   `yaml:"public_url"` // empty: PublicBaseURL
	Lifetime  Duration `yaml:"lifetime"`
	MaxSize   Size     `yaml:"max_size"` // of a file
}

// IRCPlumbing is who may decide about rooms that people link with channels, beside themselves.
type IRCPlumbing struct {
	Admins []string `yaml:"admins"` // Matrix users who may end any link
	Secret Secret   `yaml:"secret"` // of callers of the provisioning API who act for anybody; empty: none
	// Ranges in which homeservers may be, though private, whose users want to use the provisioning API.
	AllowAddresses []string `yaml:"allow_addresses"`
}

// An IRCNetwork is one network that the IRC bridge can reach. The templates
// know the words in braces that the annotated sample explains.
type IRCNetwork struct {
	Enabled        bool     `yaml:"enabled"`
	Name           string   `yaml:"name"` // for people
	Address        string   `yaml:"address"`
	Servers        []string `yaml:"servers"` // more addresses, tried in order
	TLS            bool     `yaml:"tls"`
	TLSVerify      bool     `yaml:"tls_verify"`
	CAFile         string   `yaml:"ca_file" config:"path"`
	Password       Secret   `yaml:"password"` // for PASS
	BotNick        string   `yaml:"bot_nick"`
	SASL           SASL     `yaml:"sasl"`
	Nick           string   `yaml:"nick"` // of Matrix users on IRC
	Realname       string   `yaml:"realname"`
	Alias          string   `yaml:"alias"`
	User           string   `yaml:"user"` // IRC users on Matrix
	DisplayName    string   `yaml:"display_name"`
	Icon           string   `yaml:"icon"`         // mxc URI; empty: none
	ExternalURL    string   `yaml:"external_url"` // of a log in which a message can be read; empty: none
	MaxConnections int      `yaml:"max_connections"`
	IdleTimeout    Duration `yaml:"idle_timeout"` // 0: never
	MakeRoom       Duration `yaml:"make_room"`    // silence after which a connection gives way to another; 0: never

	ConnectBurst    int      `yaml:"connect_burst"`
	ConnectInterval Duration `yaml:"connect_interval"`
	IPv6Prefix      string   `yaml:"ipv6_prefix"` // each Matrix user has an address in it; empty: the system chooses
	NickServ        string   `yaml:"nickserv"`    // takes IDENTIFY where there is no SASL; empty: nobody
	Ghost           string   `yaml:"ghost"`       // with which NickServ frees a nick

	FloodBurst    int      `yaml:"flood_burst"`
	FloodInterval Duration `yaml:"flood_interval"`
	Scrollback    int      `yaml:"scrollback"` // lines of earlier talk kept for a new room
	Channels      []string `yaml:"channels"`   // the bot listens in these from the start
	Published     bool     `yaml:"published"`  // new rooms are in the directory of public rooms

	Portals    bool     `yaml:"portals"`     // channels get rooms when somebody joins their aliases
	Plumbing   bool     `yaml:"plumbing"`    // rooms can be linked with channels, with consent
	PlumbPower int      `yaml:"plumb_power"` // power level in the room that this takes, at least
	PlumbWait  Duration `yaml:"plumb_wait"`  // for an operator of the channel to answer

	PowerLevels    IRCPower     `yaml:"power_levels"`
	Mappings       []IRCMapping `yaml:"mappings"`
	FollowForwards bool         `yaml:"follow_forwards"` // of channels that lead elsewhere; else they are refused
	PolicyRooms    []string     `yaml:"policy_rooms"`    // whose rules (MSC2313) say who is not bridged
	BanFile        string       `yaml:"ban_file" config:"path"`

	Edits          string   `yaml:"edits"`           // difference, text or off
	Reactions      string   `yaml:"reactions"`       // auto, tags, lines or off
	Typing         bool     `yaml:"typing"`          // in both directions
	MaxLines       int      `yaml:"max_lines"`       // of a message; a longer one becomes a link
	Undelivered    string   `yaml:"undelivered"`     // reply, reaction or off
	Encryption     string   `yaml:"encryption"`      // off, bot or users
	DirectMessages string   `yaml:"direct_messages"` // that Matrix users get: all, common or none
	LazyMembers    int      `yaml:"lazy_members"`    // in larger channels, members join when they speak; 0: never
	History        string   `yaml:"history"`         // joined or shared
	Hold           Duration `yaml:"hold"`            // how long messages wait for those who are not in the channel
	Netsplit       Duration `yaml:"netsplit"`        // how long those whom a split took may stay away before they leave

	Relay       string `yaml:"relay"`        // for whom the bot speaks: off, on (those without a connection) or only (all)
	RelayPrefix string `yaml:"relay_prefix"` // before what it says for {nick}
	RelayColors bool   `yaml:"relay_colors"` // of these nicks
	RelayBreak  bool   `yaml:"relay_break"`  // a space without width in these nicks
}

// IRCPower is which power level a status on IRC is worth. 0 is none.
type IRCPower struct {
	Owner  int `yaml:"owner"`
	Admin  int `yaml:"admin"`
	Op     int `yaml:"op"`
	HalfOp int `yaml:"half_op"`
	Voice  int `yaml:"voice"`
}

// IRCMapping is what the operator says about a channel.
type IRCMapping struct {
	Channel string `yaml:"channel"`
	Key     Secret `yaml:"key"`
	Alias   string `yaml:"alias"` // one more for its room
	Room    string `yaml:"room"`  // ID or alias of a room that exists
	Relay   string `yaml:"relay"` // as that of the network; empty: the same
}

// SASL is how the bridge's bot proves who it is; empty means that it does not.
type SASL struct {
	Mechanism string `yaml:"mechanism"` // PLAIN, EXTERNAL or empty
	Username  string `yaml:"username"`
	Password  Secret `yaml:"password"`
	Cert      string `yaml:"cert" config:"path"`
	Key       string `yaml:"key" config:"path"`
}

// BaseURL is the address under which clients reach this server: what the
// operator says, or else the first listener.
func (c *Config) BaseURL() string {
	if c.PublicBaseURL != "" {
		return strings.TrimRight(c.PublicBaseURL, "/")
	}
	for _, address := range c.Listen {
		if strings.HasPrefix(address, "unix:") {
			continue
		}
		plain, secure := strings.CutPrefix(address, "tls:")
		host, port, err := net.SplitHostPort(plain)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		scheme := "http"
		if secure {
			scheme = "https"
		}
		return (&url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}).String()
	}
	return "https://" + string(c.ServerName)
}

// Proxies are the trusted proxies as ranges of addresses.
func (c *Config) Proxies() []netip.Prefix {
	var ranges []netip.Prefix
	for _, proxy := range c.TrustedProxies {
		if prefix, err := parseProxy(proxy); err == nil {
			ranges = append(ranges, prefix)
		}
	}
	return ranges
}

// InData is a path inside the data folder, unless it is absolute already.
func (c *Config) InData(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Data, path)
}
