package predecessor

// A document is the part of the configuration file that is read.
type document struct {
	Homeserver struct {
		Domain string `yaml:"domain"`
	} `yaml:"homeserver"`
	Database struct {
		Connection string `yaml:"connectionString"`
	} `yaml:"database"`
	Service struct {
		Servers  map[string]*server `yaml:"servers"`
		Passkey  string             `yaml:"passwordEncryptionKeyPath"`
		Database string             `yaml:"databaseUri"`
		Ident    struct {
			Enabled bool   `yaml:"enabled"`
			Address string `yaml:"address"`
			Port    int    `yaml:"port"`
		} `yaml:"ident"`
		BanLists struct {
			Rooms []string `yaml:"rooms"`
		} `yaml:"banLists"`
		Provisioning struct {
			Enabled bool `yaml:"enabled"`
		} `yaml:"provisioning"`
	} `yaml:"ircService"`
}

// A server is one network. What may be missing and is not false or empty then is a pointer.
type server struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	NetworkID   string   `yaml:"networkId"`
	Icon        string   `yaml:"icon"`
	Port        int      `yaml:"port"`
	SSL         bool     `yaml:"ssl"`
	SelfSigned  bool     `yaml:"sslselfsign"`
	Expired     bool     `yaml:"allowExpiredCerts"`
	SASL        bool     `yaml:"sasl"`
	CA          string   `yaml:"ca"`
	Password    string   `yaml:"password"`
	Additional  []string `yaml:"additionalAddresses"`
	OnlyThese   bool     `yaml:"onlyAdditionalAddresses"`
	TLS         struct {
		CA authority `yaml:"ca"`
	} `yaml:"tlsOptions"`
	Power map[string]int `yaml:"modePowerMap"`
	Bot   struct {
		Nick     *string `yaml:"nick"`
		Username *string `yaml:"username"`
		Password string  `yaml:"password"`
		Enabled  *bool   `yaml:"enabled"`
	} `yaml:"botConfig"`
	Private struct {
		Enabled *bool `yaml:"enabled"`
	} `yaml:"privateMessages"`
	Dynamic struct {
		Enabled   bool     `yaml:"enabled"`
		Published *bool    `yaml:"published"`
		Directory bool     `yaml:"useHomeserverDirectory"`
		JoinRule  string   `yaml:"joinRule"`
		Alias     *string  `yaml:"aliasTemplate"`
		Exclude   []string `yaml:"exclude"`

		CreateAlias *bool `yaml:"createAlias"`
	} `yaml:"dynamicChannels"`
	Mappings map[string]mapping `yaml:"mappings"`
	Excluded []struct {
		Regex string `yaml:"regex"`
	} `yaml:"excludedUsers"`
	Members struct {
		Enabled bool `yaml:"enabled"`
		Global  struct {
			ToMatrix struct {
				Initial     bool `yaml:"initial"`
				Incremental bool `yaml:"incremental"`
				Required    bool `yaml:"requireMatrixJoined"`
			} `yaml:"ircToMatrix"`
			ToIRC struct {
				Initial     bool `yaml:"initial"`
				Incremental bool `yaml:"incremental"`
			} `yaml:"matrixToIrc"`
		} `yaml:"global"`
	} `yaml:"membershipLists"`
	Ghosts struct {
		User    *string `yaml:"userTemplate"`
		Display *string `yaml:"displayName"`
	} `yaml:"matrixClients"`
	Clients struct {
		Nick     *string `yaml:"nickTemplate"`
		Max      *int    `yaml:"maxClients"`
		Idle     *int    `yaml:"idleTimeout"`
		Interval *int    `yaml:"reconnectIntervalMs"`
		Lines    *int    `yaml:"lineLimit"`
		Realname string  `yaml:"realnameFormat"`
		IPv6     struct {
			Prefix string `yaml:"prefix"`
		} `yaml:"ipv6"`
	} `yaml:"ircClients"`
}

// A mapping is a channel's rooms; before version 0.15 it was only their list.
type mapping struct {
	Rooms []string
	Key   string
}
