package config

// SSO is where people can log in instead of here, by OpenID Connect.
type SSO struct {
	// TrustedClients get logins without people being asked whether they know
	// the client: addresses, or schemes of applications.
	TrustedClients []string `yaml:"trusted_clients"`
	// Preferred has clients that know of OAuth 2.0 offer nothing but these
	// logins (oauth_aware_preferred).
	Preferred bool          `yaml:"preferred"`
	Providers []SSOProvider `yaml:"providers"`
}

// An SSOProvider is a place to log in.
type SSOProvider struct {
	ID           string   `yaml:"id"`
	Name         string   `yaml:"name"`
	Icon         string   `yaml:"icon"`
	Brand        string   `yaml:"brand"`
	Issuer       string   `yaml:"issuer"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret Secret   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes"`

	UserMapping       SSOMapping       `yaml:"user_mapping"`
	Require           []SSORequirement `yaml:"require"`
	AllowSignUp       bool             `yaml:"allow_sign_up"`
	LinkExistingUsers bool             `yaml:"link_existing_users"`
	UpdateProfile     bool             `yaml:"update_profile"`
	LogoutEndsAll     bool             `yaml:"logout_ends_all"`
}

// SSOMapping makes a user of what a provider says, by templates of claims.
type SSOMapping struct {
	LocalPart   string `yaml:"local_part"`
	DisplayName string `yaml:"display_name"`
	Email       string `yaml:"email"` // believed where email_verified is true
}

// An SSORequirement is a claim that must be a value, or a list with it.
type SSORequirement struct {
	Claim string `yaml:"claim"`
	Value string `yaml:"value"`
}

// DefaultSSOProvider is what a provider is that says nothing but where it is.
func DefaultSSOProvider() SSOProvider {
	return SSOProvider{
		Scopes:      []string{"openid", "profile", "email"},
		UserMapping: SSOMapping{LocalPart: "{preferred_username}", DisplayName: "{name}", Email: "{email}"},
		AllowSignUp: true,
	}
}
