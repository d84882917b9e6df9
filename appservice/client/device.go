package client

import (
	"context"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// CreateDevice makes a device of the user, or makes sure that it is there (MSC4190).
func (u *User) CreateDevice(ctx context.Context, device matrix.DeviceID, name string) error {
	path := u.api.BuildClientURL("v3", "devices", string(device))
	_, err := u.api.MakeRequest(ctx, http.MethodPut, path, map[string]string{"display_name": name}, nil)
	return err
}

// Device is the library's client as one of the user's devices (MSC3202). before is called ahead
// of each request, with its context; if it fails, so does the request, and nothing leaves.
func (u *User) Device(device matrix.DeviceID, before func(context.Context) error) *mautrix.Client {
	api := *u.client.As(u.ID).api
	api.DeviceID, api.SetAppServiceDeviceID = id.DeviceID(device), true
	inner := *u.client.http
	if inner.Transport == nil {
		inner.Transport = http.DefaultTransport
	}
	inner.Transport = precededTransport{before, inner.Transport}
	api.Client = &inner
	return &api
}

type precededTransport struct {
	before func(context.Context) error
	next   http.RoundTripper
}

func (p precededTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := p.before(r.Context()); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return p.next.RoundTrip(r)
}
