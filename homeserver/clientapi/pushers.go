package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/pushers"
	"trestle/internal/matrix"
)

// pushersAPI is where users want to be notified (module push).
type pushersAPI struct{ pushers *pushers.Service }

func (a *pushersAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v3/pushers", api.User, a.list),
		api.Endpoint("POST", "/_matrix/client/v3/pushers/set", api.User, a.set),
		api.Raw("GET", pushers.UnsubscribePath, api.None, a.unsubscribePage),
		api.Raw("POST", pushers.UnsubscribePath, api.None, a.unsubscribe, api.Limit("login"), api.BodyLimit(maxForm)),
	}
}

type pusher struct {
	Key        string          `json:"pushkey"`
	Kind       string          `json:"kind"`
	AppID      string          `json:"app_id"`
	AppName    string          `json:"app_display_name"`
	DeviceName string          `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag,omitempty"`
	Lang       string          `json:"lang"`
	Data       json.RawMessage `json:"data"`
	Enabled    bool            `json:"org.matrix.msc3881.enabled"`
	DeviceID   matrix.DeviceID `json:"org.matrix.msc3881.device_id,omitempty"`
}

type pushersResponse struct {
	Pushers []pusher `json:"pushers"`
}

func (a *pushersAPI) list(ctx context.Context, who api.Caller, _ *struct{}) (*pushersResponse, error) {
	list, err := a.pushers.List(ctx, who.UserID)
	res := &pushersResponse{make([]pusher, len(list))}
	for i, p := range list {
		res.Pushers[i] = pusher{p.Key, p.Kind, p.AppID, p.AppName, p.DeviceName, p.ProfileTag, p.Lang, p.Data, p.Enabled, p.Device}
	}
	return res, err
}

type setPusherRequest struct {
	Kind       json.RawMessage `json:"kind"` // a text or null, but there
	AppID      string          `json:"app_id" required:"true"`
	Key        string          `json:"pushkey" required:"true"`
	AppName    *string         `json:"app_display_name"`
	DeviceName *string         `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag"`
	Lang       *string         `json:"lang"`
	Data       json.RawMessage `json:"data"`
	Append     bool            `json:"append"`

	// MSC3881; matrix-js-sdk sends both names.
	Enabled         *bool           `json:"enabled"`
	UnstableEnabled *bool           `json:"org.matrix.msc3881.enabled"`
	Device          matrix.DeviceID `json:"device_id"`
	UnstableDevice  matrix.DeviceID `json:"org.matrix.msc3881.device_id"`
}

func (a *pushersAPI) set(ctx context.Context, who api.Caller, req *setPusherRequest) (*struct{}, error) {
	spec := pushers.Spec{
		AppID: req.AppID, Key: req.Key, AppName: req.AppName, DeviceName: req.DeviceName, Lang: req.Lang,
		ProfileTag: req.ProfileTag, Data: req.Data, Append: req.Append, Enabled: true, Owner: req.UnstableDevice,
	}
	switch string(req.Kind) {
	case "":
		return nil, matrix.MissingParam("kind is missing.")
	case "null":
		return nil, a.pushers.Remove(ctx, who.UserID, req.AppID, req.Key)
	}
	if json.Unmarshal(req.Kind, &spec.Kind) != nil {
		return nil, matrix.BadJSON("kind must be a string or null.")
	}
	if req.Device != "" {
		spec.Owner = req.Device
	}
	for _, enabled := range []*bool{req.Enabled, req.UnstableEnabled} {
		if enabled != nil {
			spec.Enabled = *enabled
		}
	}
	return nil, a.pushers.Set(ctx, who.UserID, who.DeviceID, spec)
}

// subscription is what the link in a mail says.
func subscription(values url.Values) pushers.Subscription {
	return pushers.Subscription{Pusher: values.Get("pusher"), Token: values.Get("token")}
}

// unsubscribePage asks for one more click: programs that look through mails
// follow links, too, but press no buttons.
func (a *pushersAPI) unsubscribePage(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	link := subscription(r.URL.Query())
	p := &page{Page: accounts.Page{Title: "Mails about what is unread"}}
	address, err := a.pushers.Subscribed(r.Context(), link)
	if err != nil {
		return p.explain(w, err)
	}
	p.Text, p.Continue, p.Action = address, "Send no more of them", pushers.UnsubscribePath
	p.Hidden = map[string]string{"pusher": link.Pusher, "token": link.Token}
	return p.write(w, http.StatusOK)
}

// unsubscribe takes the page's form, and what mail programs send to the link
// itself (RFC 8058).
func (a *pushersAPI) unsubscribe(w http.ResponseWriter, r *http.Request, _ api.Caller, _ api.Params) error {
	if err := r.ParseForm(); err != nil {
		return matrix.InvalidParam("The form could not be read.")
	}
	p := &page{Page: accounts.Page{Title: "Mails about what is unread"}}
	if err := a.pushers.Unsubscribe(r.Context(), subscription(r.Form)); err != nil {
		return p.explain(w, err)
	}
	p.Text = "There will be no more of them. Your application can switch them on again."
	return p.write(w, http.StatusOK)
}
