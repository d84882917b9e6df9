package adminapi

import (
	"context"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

func (a *usersAPI) deviceRoutes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", v2+"/users/{userId}/devices", api.Admin, a.devices),
		api.Endpoint("GET", v2+"/users/{userId}/devices/{deviceId}", api.Admin, a.device),
		api.Endpoint("PUT", v2+"/users/{userId}/devices/{deviceId}", api.Admin, a.renameDevice),
		api.Endpoint("DELETE", v2+"/users/{userId}/devices/{deviceId}", api.Admin, a.deleteDevice),
		api.Endpoint("POST", v2+"/users/{userId}/delete_devices", api.Admin, a.deleteDevices),
		api.Endpoint("GET", v1+"/whois/{userId}", api.Admin, a.whois),
	}
}

type shownDevice struct {
	ID          matrix.DeviceID `json:"device_id"`
	DisplayName *string         `json:"display_name"`
	LastSeenIP  *string         `json:"last_seen_ip"`
	UserAgent   *string         `json:"last_seen_user_agent"`
	LastSeenAt  *int64          `json:"last_seen_ts"`
	UserID      matrix.UserID   `json:"user_id"`
}

func newShownDevice(user matrix.UserID, d accounts.Device) shownDevice {
	return shownDevice{
		d.ID, optionalText(d.DisplayName), optionalText(d.LastSeenIP), optionalText(d.UserAgent), optionalNumber(d.LastSeenAt), user,
	}
}

type devicesResponse struct {
	Devices []shownDevice `json:"devices"`
	Total   int           `json:"total"`
}

func (a *usersAPI) devices(ctx context.Context, _ api.Caller, req *userRequest) (*devicesResponse, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	list, err := a.accounts.Devices(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	res := &devicesResponse{Devices: []shownDevice{}, Total: len(list)}
	for _, d := range list {
		res.Devices = append(res.Devices, newShownDevice(req.UserID, d))
	}
	return res, nil
}

type deviceRequest struct {
	UserID   matrix.UserID   `path:"userId"`
	DeviceID matrix.DeviceID `path:"deviceId"`
}

func (a *usersAPI) device(ctx context.Context, _ api.Caller, req *deviceRequest) (*shownDevice, error) {
	d, err := a.accounts.Device(ctx, req.UserID, req.DeviceID)
	if err != nil {
		return nil, err
	}
	shown := newShownDevice(req.UserID, *d)
	return &shown, nil
}

type renameDeviceRequest struct {
	UserID      matrix.UserID   `path:"userId"`
	DeviceID    matrix.DeviceID `path:"deviceId"`
	DisplayName *string         `json:"display_name"`
}

func (a *usersAPI) renameDevice(ctx context.Context, _ api.Caller, req *renameDeviceRequest) (*struct{}, error) {
	_, err := a.accounts.PutDevice(ctx, accounts.Caller{UserID: req.UserID}, req.DeviceID, req.DisplayName)
	return nil, err
}

func (a *usersAPI) deleteDevice(ctx context.Context, _ api.Caller, req *deviceRequest) (*struct{}, error) {
	return nil, a.accounts.RemoveDevices(ctx, req.UserID, []matrix.DeviceID{req.DeviceID})
}

type deleteDevicesRequest struct {
	UserID  matrix.UserID     `path:"userId"`
	Devices []matrix.DeviceID `json:"devices" required:"true"`
}

func (a *usersAPI) deleteDevices(ctx context.Context, _ api.Caller, req *deleteDevicesRequest) (*struct{}, error) {
	return nil, a.accounts.RemoveDevices(ctx, req.UserID, req.Devices)
}

type whoisConnection struct {
	IP        string `json:"ip,omitempty"`
	LastSeen  int64  `json:"last_seen,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

type whoisSession struct {
	Connections []whoisConnection `json:"connections"`
}

type whoisDevice struct {
	Sessions []whoisSession `json:"sessions"`
}

type whoisResponse struct {
	UserID  matrix.UserID                   `json:"user_id"`
	Devices map[matrix.DeviceID]whoisDevice `json:"devices"`
}

func (a *usersAPI) whois(ctx context.Context, _ api.Caller, req *userRequest) (*whoisResponse, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	list, err := a.accounts.Devices(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	res := &whoisResponse{req.UserID, map[matrix.DeviceID]whoisDevice{}}
	for _, d := range list {
		session := whoisSession{Connections: []whoisConnection{}}
		if d.LastSeenAt != 0 {
			session.Connections = append(session.Connections, whoisConnection{d.LastSeenIP, d.LastSeenAt, d.UserAgent})
		}
		res.Devices[d.ID] = whoisDevice{[]whoisSession{session}}
	}
	return res, nil
}
