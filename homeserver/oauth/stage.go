package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// StageOAuth is the stage of user-interactive authentication for devices that
// came by OAuth (Client-Server API § OAuth authentication), and the name that
// it had before (MSC4312).
const (
	StageOAuth    = "m.oauth"
	stageUnstable = ActionReset
)

// A stage is completed on the page where the user allows the reset. Its fallback
// page is the same one, told of the session.
type stage struct {
	oauth *Service
	name  string
}

// Stages are those that this API adds.
func (s *Service) Stages() []accounts.Stage {
	return []accounts.Stage{stage{s, StageOAuth}, stage{s, stageUnstable}}
}

var _ accounts.PageStage = stage{}

func (st stage) Name() string { return st.name }

func (st stage) Params(accounts.Operation, string) any {
	return map[string]string{"url": st.oauth.URL(AccountPath) + "?" + url.Values{"action": {ActionReset}}.Encode()}
}

func (st stage) Check(context.Context, accounts.Attempt) (string, error) {
	return "", matrix.NewError(http.StatusUnauthorized, "M_FORBIDDEN", "Allow it on the page first.")
}

func (st stage) Page(session string) accounts.Page {
	query := url.Values{"action": {ActionReset}, "session": {session}}
	return accounts.Page{Redirect: st.oauth.URL(AccountPath) + "?" + query.Encode()}
}

func (stage) Submit(context.Context, url.Values, string) (matrix.UserID, error) {
	return "", matrix.MethodNotAllowed()
}

// ConfirmReset is how a device that came by OAuth may replace cross-signing
// keys: the user has allowed it on a page. For other devices it reports false
// and does nothing.
func (s *Service) ConfirmReset(ctx context.Context, user matrix.UserID, device matrix.DeviceID, auth json.RawMessage) (mine bool, err error) {
	session, err := s.options.Store.Session(ctx, user, device)
	if err != nil || session == nil {
		return false, err
	}
	allowed, err := s.takeReset(ctx, user)
	if err != nil || allowed {
		return true, err
	}
	return true, s.options.Accounts.Confirm(ctx, accounts.Operation{
		Name: "replace cross-signing keys", User: user, Flows: [][]string{{StageOAuth}, {stageUnstable}},
	}, auth)
}
