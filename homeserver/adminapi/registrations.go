package adminapi

import (
	"context"
	"errors"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/ledger"
	"trestle/homeserver/registrar"
	"trestle/internal/matrix"
	"trestle/registration"
)

// registrationsAPI changes and explains the registrations of application
// services.
type registrationsAPI struct {
	registrar *registrar.Service
	ledger    *ledger.Service
}

const appservicesPath = "/_trestle/admin/v1/appservices"

// usualGrace is how long tokens from before a rotation are good unless said.
const usualGrace = 24 * time.Hour

func (a *registrationsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("POST", appservicesPath, api.Admin, a.add),
		api.Endpoint("POST", appservicesPath+"/check", api.Admin, a.check),
		api.Endpoint("POST", appservicesPath+"/reload", api.Admin, a.reload),
		api.Endpoint("POST", appservicesPath+"/{appserviceId}/rotate_token", api.Admin, a.rotate),
		api.Endpoint("DELETE", appservicesPath+"/{appserviceId}", api.Admin, a.remove),
	}
}

type registrationRequest struct {
	Registration string `json:"registration"` // the text of a file
	File         string `json:"file"`         // its name, for messages
	Replace      bool   `json:"replace"`
}

type addResponse struct {
	File   string            `json:"file"`
	Report *registrar.Report `json:"report"`
}

func (a *registrationsAPI) add(ctx context.Context, who api.Caller, req *registrationRequest) (*addResponse, error) {
	report, file, err := a.ledger.Add(ctx, who.UserID, req.File, []byte(req.Registration), req.Replace)
	if err != nil {
		return nil, refusal(err)
	}
	return &addResponse{file, report}, nil
}

// refusal lets operators read what is wrong with their files.
func refusal(err error) error {
	_, unusable := errors.AsType[*registrar.AddError](err)
	_, problem := errors.AsType[*registration.Problem](err)
	if unusable || problem {
		return matrix.InvalidParam("%s", err)
	}
	return err
}

func (a *registrationsAPI) check(ctx context.Context, _ api.Caller, req *registrationRequest) (*registrar.Report, error) {
	return a.registrar.Check(ctx, req.File, []byte(req.Registration))
}

type reloadResponse struct {
	Changes []registration.Change `json:"changes"`
}

func (a *registrationsAPI) reload(ctx context.Context, who api.Caller, _ *struct{}) (*reloadResponse, error) {
	changes, err := a.ledger.Reload(ctx, who.UserID)
	if err != nil {
		return nil, refusal(err)
	}
	return &reloadResponse{append([]registration.Change{}, changes...)}, nil
}

type rotateRequest struct {
	ID      string `path:"appserviceId"`
	GraceMS *int64 `json:"grace_ms"`
	HSToken bool   `json:"hs_token"`
}

type rotateResponse struct {
	ASToken string `json:"as_token"`
	HSToken string `json:"hs_token"`
	File    string `json:"file"`
	Until   int64  `json:"previous_until_ts,omitempty"`
}

func (a *registrationsAPI) rotate(ctx context.Context, who api.Caller, req *rotateRequest) (*rotateResponse, error) {
	grace := usualGrace
	if req.GraceMS != nil {
		const most = 1 << 40 // the registrar has a limit of its own; this one keeps the product in range
		if *req.GraceMS < 0 || *req.GraceMS > most {
			return nil, matrix.InvalidParam("grace_ms is a number of milliseconds.")
		}
		grace = time.Duration(*req.GraceMS) * time.Millisecond
	}
	rotated, err := a.ledger.Rotate(ctx, who.UserID, req.ID, req.HSToken, grace)
	if err != nil {
		return nil, refusal(err)
	}
	res := &rotateResponse{ASToken: rotated.ASToken, HSToken: rotated.HSToken, File: rotated.File}
	if !rotated.Until.IsZero() {
		res.Until = rotated.Until.UnixMilli()
	}
	return res, nil
}

type removeRequest struct {
	ID     string `path:"appserviceId"`
	Reason string `query:"reason"`
}

type removeResponse struct {
	Kept string `json:"kept"` // the file under its new name
}

func (a *registrationsAPI) remove(ctx context.Context, who api.Caller, req *removeRequest) (*removeResponse, error) {
	kept, err := a.ledger.Remove(ctx, who.UserID, req.ID, req.Reason)
	if err != nil {
		return nil, refusal(err)
	}
	return &removeResponse{kept}, nil
}
