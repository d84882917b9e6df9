package config

import (
	"time"

	"trestle/internal/matrix/roomversion"
)

// Default is what an empty configuration file means. Its paths are relative
// to the data folder; [Load] makes them whole.
func Default() *Config {
	return &Config{
		ServerName:      "localhost",
		Data:            ".",
		Listen:          []string{"127.0.0.1:8008"},
		Database:        "trestle.db",
		AppServices:     []string{"appservices"},
		SigningKey:      "signing.key",
		MaxBody:         1 << 20,
		ShutdownTimeout: Duration(10 * time.Second),
		Passwords: Passwords{
			Hash:       "argon2id",
			Memory:     19 << 20,
			Iterations: 2,
			BcryptCost: 12,
			AtOnce:     2,
			MinLength:  8,
		},
		Registration: Registration{
			Email: "off",
			Terms: map[string]Policy{},
			Captcha: Captcha{
				Verifier: "https://www.google.com/recaptcha/api/siteverify",
				Script:   "https://www.google.com/recaptcha/api.js",
				Class:    "g-recaptcha",
			},
		},
		Mail: Mail{Security: "starttls", Timeout: Duration(30 * time.Second)},
		Pushers: Pushers{
			Timeout:   Duration(15 * time.Second),
			AtOnce:    64,
			GiveUp:    Duration(24 * time.Hour),
			MailDelay: Duration(10 * time.Minute),
		},
		Accounts: Accounts{MaxDevices: 1000, MaxAccountData: 20_000, LegacyMentions: true},
		OAuth:    OAuth{Enabled: true},
		Console:  Console{Enabled: true},
		Presence: Presence{Enabled: true, IdleAfter: Duration(5 * time.Minute)},
		Rooms:    Rooms{DefaultVersion: roomversion.Default},
		Delayed:  DelayedEvents{MaxDelay: Duration(24 * time.Hour), MaxPerUser: 100},
		Calls:    Calls{TURN: TURN{Lifetime: Duration(24 * time.Hour)}},
		Media: Media{
			Path:       "media",
			MaxUpload:  50 << 20,
			MaxPerUser: 10 << 30,
			MaxRemote:  10 << 30,
			MaxPixels:  32_000_000,
			Thumbnails: []Thumbnail{
				{32, 32, "crop"},
				{96, 96, "crop"},
				{320, 240, "scale"},
				{640, 480, "scale"},
				{800, 600, "scale"},
			},
			Previews: Previews{
				Enabled:  true,
				Ports:    []int{80, 443},
				MaxPage:  1 << 20,
				MaxImage: 10 << 20,
				MaxKept:  1 << 30,
				Timeout:  Duration(15 * time.Second),
				Lifetime: Duration(24 * time.Hour),
			},
			Retention: Retention{Previews: Duration(30 * 24 * time.Hour)},
			S3:        S3{PathStyle: true},
		},
		RateLimits: map[string]RateLimit{
			"default":  {50, 200},
			"register": {0.2, 10},
			"login":    {0.2, 10},
			"mail":     {0.02, 5},
			"token":    {1, 50},
			"create":   {0.2, 20},
			"join":     {1, 30},
			"invite":   {1, 30},
			"send":     {10, 100},
			"upload":   {2, 30},
			"preview":  {2, 30},
			"search":   {1, 20},
			"spaces":   {2, 40},
			"report":   {0.1, 20},

			"federation": {50, 200},
			"keys":       {1, 100},
		},
		Notices: Notices{LocalPart: "_server", DisplayName: "Server Notices", RoomName: "Server Notices"},
		Logging: Logging{Level: "info", Format: "text"},
		Metrics: Metrics{Enabled: true, Path: "/metrics"},
		Bridges: Bridges{IRC: IRC{
			Database: "irc.db",
			BotUser:  "irc_bot",
			Links:    IRCLinks{Lifetime: Duration(30 * 24 * time.Hour), MaxSize: 100 << 20},
			Networks: map[string]IRCNetwork{
				"local":  localNetwork(),
				"libera": liberaNetwork(),
			},
		}},
	}
}

// DefaultIRCNetwork is what a network is that says nothing but its address.
func DefaultIRCNetwork() IRCNetwork {
	return IRCNetwork{
		Enabled:         true,
		TLSVerify:       true,
		BotNick:         "trestle",
		Nick:            "{localpart}",
		Realname:        "{mxid}",
		Alias:           "irc_{network}_{channel}",
		User:            "irc_{network}_{nick}",
		DisplayName:     "{nick}",
		MaxConnections:  200,
		ConnectBurst:    10,
		ConnectInterval: Duration(25 * time.Millisecond),
		Ghost:           "GHOST",

		FloodBurst:     5,
		FloodInterval:  Duration(2 * time.Second),
		Scrollback:     100,
		PowerLevels:    IRCPower{Owner: 90, Admin: 75, Op: 50, HalfOp: 25, Voice: 1},
		Edits:          "difference",
		Reactions:      "auto",
		Typing:         true,
		MaxLines:       15,
		Undelivered:    "reply",
		Encryption:     "off",
		DirectMessages: "common",
		LazyMembers:    5000,
		History:        "joined",
		Hold:           Duration(2 * time.Minute),
		Netsplit:       Duration(10 * time.Minute),
		Relay:          "off",
		RelayPrefix:    "<{nick}> ",
		Portals:        true,
		Plumbing:       true,
		PlumbPower:     50,
		PlumbWait:      Duration(30 * time.Minute),
	}
}

func localNetwork() IRCNetwork {
	n := DefaultIRCNetwork()
	n.Name, n.Address, n.History = "Local", "127.0.0.1:6667", "shared"
	return n
}

func liberaNetwork() IRCNetwork {
	n := DefaultIRCNetwork()
	n.Enabled = false
	n.Name, n.Address, n.TLS = "Libera.Chat", "irc.libera.chat:6697", true
	n.BotNick, n.Nick = "trestle-bot", "{localpart}[m]"
	n.IdleTimeout = Duration(7 * 24 * time.Hour)
	n.ConnectInterval = Duration(500 * time.Millisecond)
	n.NickServ, n.Ghost = "NickServ@services.libera.chat", "REGAIN"
	return n
}
