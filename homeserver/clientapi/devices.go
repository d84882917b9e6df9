package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Device management (module device_management).
func (a *accountAPI) deviceRoutes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v3/devices", api.Guest, a.devices),
		api.Endpoint("GET", "/_matrix/client/v3/devices/{deviceId}", api.Guest, a.device),
		api.Endpoint("PUT", "/_matrix/client/v3/devices/{deviceId}", api.Guest, a.putDevice),
		api.Endpoint("DELETE", "/_matrix/client/v3/devices/{deviceId}", api.User, a.deleteDevice),
		api.Endpoint("POST", "/_matrix/client/v3/delete_devices", api.User, a.deleteDevices),
	}
}

type device struct {
	ID         matrix.DeviceID `json:"device_id"`
	Name       string          `json:"display_name,omitempty"`
	LastSeenIP string          `json:"last_seen_ip,omitempty"`
	LastSeenTS int64           `json:"last_seen_ts,omitempty"`
}

func newDevice(d accounts.Device) device {
	return device{d.ID, d.DisplayName, d.LastSeenIP, d.LastSeenAt}
}

type devicesResponse struct {
	Devices []device `json:"devices"`
}

func (a *accountAPI) devices(ctx context.Context, who api.Caller, _ *struct{}) (*devicesResponse, error) {
	list, err := a.accounts.Devices(ctx, who.UserID)
	response := &devicesResponse{make([]device, len(list))}
	for i, d := range list {
		response.Devices[i] = newDevice(d)
	}
	return response, err
}

type deviceRequest struct {
	DeviceID matrix.DeviceID `path:"deviceId"`
}

func (a *accountAPI) device(ctx context.Context, who api.Caller, req *deviceRequest) (*device, error) {
	found, err := a.accounts.Device(ctx, who.UserID, req.DeviceID)
	if err != nil {
		return nil, err
	}
	d := newDevice(*found)
	return &d, nil
}

type putDeviceRequest struct {
	deviceRequest
	Name *string `json:"display_name"`
}

// putDeviceResponse is an empty object; its status tells what was done.
type putDeviceResponse struct{ created bool }

// StatusCode implements the status of [api.Endpoint]'s answers.
func (r *putDeviceResponse) StatusCode() int {
	if r.created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (a *accountAPI) putDevice(ctx context.Context, who api.Caller, req *putDeviceRequest) (*putDeviceResponse, error) {
	created, err := a.accounts.PutDevice(ctx, accounts.Caller(who), req.DeviceID, req.Name)
	return &putDeviceResponse{created}, err
}

type deleteDeviceRequest struct {
	deviceRequest
	Auth json.RawMessage `json:"auth"`
}

func (a *accountAPI) deleteDevice(ctx context.Context, who api.Caller, req *deleteDeviceRequest) (*struct{}, error) {
	return nil, a.removeDevices(ctx, who, []matrix.DeviceID{req.DeviceID}, req.Auth)
}

type deleteDevicesRequest struct {
	Devices []matrix.DeviceID `json:"devices" required:"true"`
	Auth    json.RawMessage   `json:"auth"`
}

func (a *accountAPI) deleteDevices(ctx context.Context, who api.Caller, req *deleteDevicesRequest) (*struct{}, error) {
	return nil, a.removeDevices(ctx, who, req.Devices, req.Auth)
}

// removeDevices takes what was confirmed for these devices, and for no others.
func (a *accountAPI) removeDevices(ctx context.Context, who api.Caller, devices []matrix.DeviceID, auth json.RawMessage) error {
	named := slices.Compact(slices.Sorted(slices.Values(devices)))
	if err := a.confirm(ctx, who, fmt.Sprintf("delete devices %q", named), auth); err != nil {
		return err
	}
	return a.accounts.RemoveDevices(ctx, who.UserID, devices)
}
