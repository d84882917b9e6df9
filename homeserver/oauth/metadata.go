package oauth

// Actions of account management, and the names that they had before
// (Client-Server API § Account management, MSC4191).
const (
	ActionProfile    = "org.matrix.profile"
	ActionDevices    = "org.matrix.devices_list"
	ActionDevice     = "org.matrix.device_view"
	ActionEndDevice  = "org.matrix.device_delete"
	ActionDeactivate = "org.matrix.account_deactivate"
	ActionReset      = "org.matrix.cross_signing_reset"
)

var olderActions = map[string]string{
	"":        ActionProfile,
	"profile": ActionProfile,

	"sessions_list":            ActionDevices,
	"org.matrix.sessions_list": ActionDevices,
	"session_view":             ActionDevice,
	"org.matrix.session_view":  ActionDevice,
	"session_end":              ActionEndDevice,
	"org.matrix.session_end":   ActionEndDevice,
}

// Action is what a page of account management is asked for by its name today.
func Action(asked string) string {
	if name, ok := olderActions[asked]; ok {
		return name
	}
	return asked
}

// Metadata is what clients are told about this authorization server (RFC 8414).
type Metadata struct {
	Issuer                string   `json:"issuer"`
	Authorization         string   `json:"authorization_endpoint"`
	Token                 string   `json:"token_endpoint"`
	Revocation            string   `json:"revocation_endpoint"`
	Registration          string   `json:"registration_endpoint"`
	DeviceAuthorization   string   `json:"device_authorization_endpoint"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	Prompts               []string `json:"prompt_values_supported,omitempty"`
	TellsIssuer           bool     `json:"authorization_response_iss_parameter_supported"`
	Keys                  string   `json:"jwks_uri"`
	SubjectTypes          []string `json:"subject_types_supported"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	AccountManagement     string   `json:"account_management_uri"`
	AccountActions        []string `json:"account_management_actions_supported"`
}

// Metadata is that of this server.
func (s *Service) Metadata() *Metadata {
	m := &Metadata{
		Issuer:        s.Issuer(),
		Authorization: s.URL(AuthorizePath), Token: s.URL(TokenPath), Revocation: s.URL(RevokePath),
		Registration: s.URL(RegisterPath), DeviceAuthorization: s.URL(DevicePath),
		ResponseTypes: []string{"code"}, ResponseModes: []string{ModeQuery, ModeFragment, ModeFormPost},
		GrantTypes:       []string{GrantCode, GrantRefresh, GrantDevice},
		ChallengeMethods: []string{"S256"},
		AuthMethods:      []string{"none"}, RevocationAuthMethods: []string{"none"},
		Keys: s.URL(KeysPath), SubjectTypes: []string{"public"}, SigningAlgorithms: []string{"EdDSA"},
		TellsIssuer: true, AccountManagement: s.URL(AccountPath),
		AccountActions: []string{ActionProfile, ActionDevices, ActionDevice, ActionEndDevice, ActionDeactivate, ActionReset},
	}
	if s.options.Accounts.SignUpStages() != nil {
		m.Prompts = []string{"create"}
	}
	return m
}
