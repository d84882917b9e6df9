package clientapi

import (
	"context"

	"trestle/homeserver/api"
	"trestle/homeserver/registrar"
	"trestle/internal/matrix"
	"trestle/registration"
)

// selfRegistrationAPI is how services registered themselves in the draft of
// early 2015 (Application Services HTTP API § Registration API). The operator
// gives out the tokens; without any there is no such API.
type selfRegistrationAPI struct{ registrar *registrar.Service }

func (a *selfRegistrationAPI) routes() []api.Route {
	if a.registrar == nil || !a.registrar.SelfRegisters() {
		return nil
	}
	const path, old = "/_matrix/app/v1", "/_matrix/appservice/v1"
	return []api.Route{
		api.Endpoint("POST", path+"/register", api.None, a.register, api.Limit("register"), api.Aliases(old+"/register")),
		api.Endpoint("POST", path+"/unregister", api.None, a.unregister, api.Limit("register"), api.Aliases(old+"/unregister")),
	}
}

type draftSpace struct {
	Exclusive bool   `json:"exclusive"`
	Regex     string `json:"regex"`
}

type draftRegistration struct {
	URL        string `json:"url"`
	ASToken    string `json:"as_token"`
	Namespaces struct {
		Users   []draftSpace `json:"users"`
		Aliases []draftSpace `json:"aliases"`
		Rooms   []draftSpace `json:"rooms"`
	} `json:"namespaces"`
}

type draftResponse struct {
	HSToken string `json:"hs_token"`
}

func (a *selfRegistrationAPI) register(ctx context.Context, _ api.Caller, req *draftRegistration) (*draftResponse, error) {
	// Expressions of strangers are not even compiled.
	if err := a.registrar.Knows(req.ASToken); err != nil {
		return nil, err
	}
	r := registrar.SelfRegistration{URL: req.URL, ASToken: req.ASToken}
	for _, list := range []struct {
		from []draftSpace
		into *[]registration.Namespace
	}{
		{req.Namespaces.Users, &r.Namespaces.Users}, {req.Namespaces.Aliases, &r.Namespaces.Aliases}, {req.Namespaces.Rooms, &r.Namespaces.Rooms},
	} {
		for _, space := range list.from {
			n, err := registration.NewNamespace(space.Regex, space.Exclusive)
			if err != nil {
				return nil, matrix.InvalidParam("In the namespace %.80q %s.", space.Regex, err)
			}
			*list.into = append(*list.into, n)
		}
	}
	token, err := a.registrar.Register(ctx, r)
	return &draftResponse{token}, err
}

type draftUnregistration struct {
	ASToken string `json:"as_token"`
}

func (a *selfRegistrationAPI) unregister(ctx context.Context, _ api.Caller, req *draftUnregistration) (*struct{}, error) {
	return nil, a.registrar.Unregister(ctx, req.ASToken)
}
