package adminapi

import (
	"context"
	"net/http"
	"strconv"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/homeserver/sso"
	"trestle/internal/matrix"
)

// usersAPI is about accounts.
type usersAPI struct {
	server   matrix.ServerName
	accounts *accounts.Service
	rooms    *rooms.Service
	sso      *sso.Service
}

func (a *usersAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", v2+"/users", api.Admin, a.list, api.Aliases("/_synapse/admin/v3/users")),
		api.Endpoint("GET", v2+"/users/{userId}", api.Admin, a.show),
		api.Endpoint("PUT", v2+"/users/{userId}", api.Admin, a.put),
		api.Endpoint("POST", v1+"/deactivate/{userId}", api.Admin, a.deactivate),
		api.Endpoint("POST", v1+"/reset_password/{userId}", api.Admin, a.resetPassword),
		api.Endpoint("GET", v1+"/users/{userId}/admin", api.Admin, a.isAdmin),
		api.Endpoint("PUT", v1+"/users/{userId}/admin", api.Admin, a.setAdmin),
		api.Endpoint("GET", v1+"/users/{userId}/joined_rooms", api.Admin, a.joinedRooms),
		api.Endpoint("POST", v1+"/users/{userId}/login", api.Admin, a.login),
		api.Endpoint("GET", v1+"/username_available", api.Admin, a.available),
	}
}

type listUsersRequest struct {
	page
	UserID      string `query:"user_id"`
	Name        string `query:"name"`
	Guests      *bool  `query:"guests"`
	Deactivated bool   `query:"deactivated"`
	Admins      *bool  `query:"admins"`
}

type listedUser struct {
	Name         matrix.UserID `json:"name"`
	UserType     *string       `json:"user_type"`
	IsGuest      bool          `json:"is_guest"`
	Admin        bool          `json:"admin"`
	Deactivated  bool          `json:"deactivated"`
	ShadowBanned bool          `json:"shadow_banned"`
	DisplayName  *string       `json:"displayname"`
	AvatarURL    *string       `json:"avatar_url"`
	CreatedAt    int64         `json:"creation_ts"`
	LastSeenAt   *int64        `json:"last_seen_ts"`
}

type listUsersResponse struct {
	Users []listedUser `json:"users"`
	Total int64        `json:"total"`
	Next  string       `json:"next_token,omitempty"`
}

func (a *usersAPI) list(ctx context.Context, _ api.Caller, req *listUsersRequest) (*listUsersResponse, error) {
	from, limit, err := req.bounds()
	if err != nil {
		return nil, err
	}
	list, total, err := a.accounts.Accounts(ctx, accounts.AccountQuery{
		Contains: req.UserID, Name: req.Name, Guests: req.Guests == nil || *req.Guests, Deactivated: req.Deactivated, Admins: req.Admins, From: from, Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	res := &listUsersResponse{Users: []listedUser{}, Total: total}
	for _, account := range list {
		name, avatar, err := a.accounts.Profile(ctx, account.UserID)
		if err != nil {
			return nil, err
		}
		res.Users = append(res.Users, listedUser{
			Name: account.UserID, IsGuest: account.Guest, Admin: account.Admin, Deactivated: account.Deactivated,
			DisplayName: optionalText(name), AvatarURL: optionalText(avatar), CreatedAt: account.CreatedAt, LastSeenAt: optionalNumber(account.LastSeenAt),
		})
	}
	if next := from + int64(len(list)); next < total {
		res.Next = strconv.FormatInt(next, 10)
	}
	return res, nil
}

type userRequest struct {
	UserID matrix.UserID `path:"userId"`
}

type shownUser struct {
	Name         matrix.UserID `json:"name"`
	UserType     *string       `json:"user_type"`
	IsGuest      bool          `json:"is_guest"`
	Admin        bool          `json:"admin"`
	Deactivated  bool          `json:"deactivated"`
	ShadowBanned bool          `json:"shadow_banned"`
	DisplayName  *string       `json:"displayname"`
	AvatarURL    *string       `json:"avatar_url"`
	CreatedAt    int64         `json:"creation_ts"` // seconds here
	AppService   *string       `json:"appservice_id"`
	ThreePIDs    []struct{}    `json:"threepids"`
	ExternalIDs  []externalID  `json:"external_ids"`

	created bool
}

// StatusCode tells a new account from a changed one.
func (u *shownUser) StatusCode() int {
	if u.created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (a *usersAPI) show(ctx context.Context, _ api.Caller, req *userRequest) (*shownUser, error) {
	account, err := a.accounts.Account(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	name, avatar, err := a.accounts.Profile(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	externals, err := a.externals(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	return &shownUser{
		Name: account.UserID, IsGuest: account.Guest, Admin: account.Admin, Deactivated: account.Deactivated,
		DisplayName: optionalText(name), AvatarURL: optionalText(avatar), CreatedAt: account.CreatedAt / 1000,
		AppService: optionalText(account.AppService), ThreePIDs: []struct{}{}, ExternalIDs: externals,
	}, nil
}

type putUserRequest struct {
	UserID        matrix.UserID `path:"userId"`
	Password      *string       `json:"password"`
	LogoutDevices *bool         `json:"logout_devices"`
	DisplayName   *string       `json:"displayname"`
	AvatarURL     *string       `json:"avatar_url"`
	Admin         *bool         `json:"admin"`
	Deactivated   *bool         `json:"deactivated"`
	Locked        *bool         `json:"locked"`
	ExternalIDs   *[]externalID `json:"external_ids"`
}

// put makes an account or changes one.
func (a *usersAPI) put(ctx context.Context, who api.Caller, req *putUserRequest) (*shownUser, error) {
	if req.UserID.Server() != a.server {
		return nil, matrix.InvalidParam("%s is not a user of this server.", req.UserID)
	}
	if req.Locked != nil && *req.Locked {
		return nil, matrix.InvalidParam("Accounts cannot be locked here.")
	}
	account, err := a.accounts.Account(ctx, req.UserID)
	created := matrix.Code(err) == "M_NOT_FOUND"
	switch {
	case created:
		err = a.create(ctx, req)
	case err == nil:
		err = a.change(ctx, who, account, req)
	}
	if err != nil {
		return nil, err
	}
	if req.ExternalIDs != nil {
		if err := a.setExternals(ctx, req.UserID, *req.ExternalIDs); err != nil {
			return nil, err
		}
	}
	if req.DisplayName != nil && !created {
		if err := a.accounts.SetProfile(ctx, req.UserID, accounts.DisplayName, *req.DisplayName); err != nil {
			return nil, err
		}
	}
	if req.AvatarURL != nil {
		if err := a.accounts.SetProfile(ctx, req.UserID, accounts.AvatarURL, *req.AvatarURL); err != nil {
			return nil, err
		}
	}
	if req.Deactivated != nil && *req.Deactivated && (account == nil || !account.Deactivated) {
		if err := a.accounts.Deactivate(ctx, req.UserID, false); err != nil {
			return nil, err
		}
	}
	shown, err := a.show(ctx, who, &userRequest{req.UserID})
	if err == nil {
		shown.created = created
	}
	return shown, err
}

func (a *usersAPI) create(ctx context.Context, req *putUserRequest) error {
	r := accounts.Registration{Username: req.UserID.Localpart(), Admin: req.Admin != nil && *req.Admin}
	if req.Password != nil {
		r.Password = *req.Password
	}
	if req.DisplayName != nil {
		r.DisplayName = *req.DisplayName
	}
	_, err := a.accounts.Register(ctx, r)
	return err
}

func (a *usersAPI) change(ctx context.Context, who api.Caller, account *accounts.Account, req *putUserRequest) error {
	if req.Admin != nil && *req.Admin != account.Admin {
		if err := a.changeAdmin(ctx, who, req.UserID, *req.Admin); err != nil {
			return err
		}
	}
	if account.Deactivated && req.Deactivated != nil && !*req.Deactivated {
		if req.Password == nil {
			return matrix.InvalidParam("To reactivate an account it needs a password.")
		}
		return a.accounts.Reactivate(ctx, req.UserID, *req.Password)
	}
	if req.Password == nil {
		return nil
	}
	logOut := req.LogoutDevices == nil || *req.LogoutDevices
	return a.accounts.SetPassword(ctx, req.UserID, *req.Password, logOut, "")
}

func (a *usersAPI) changeAdmin(ctx context.Context, who api.Caller, user matrix.UserID, admin bool) error {
	if user == who.UserID && !admin {
		return matrix.InvalidParam("You may not demote yourself.")
	}
	return a.accounts.SetAdmin(ctx, user, admin)
}

type deactivateRequest struct {
	UserID matrix.UserID `path:"userId"`
	Erase  bool          `json:"erase"`
}

type deactivateResponse struct {
	Unbound string `json:"id_server_unbind_result"`
}

func (a *usersAPI) deactivate(ctx context.Context, _ api.Caller, req *deactivateRequest) (*deactivateResponse, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	return &deactivateResponse{"success"}, a.accounts.Deactivate(ctx, req.UserID, req.Erase)
}

type resetPasswordRequest struct {
	UserID        matrix.UserID `path:"userId"`
	Password      string        `json:"new_password" required:"true"`
	LogoutDevices *bool         `json:"logout_devices"`
}

func (a *usersAPI) resetPassword(ctx context.Context, _ api.Caller, req *resetPasswordRequest) (*struct{}, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	logOut := req.LogoutDevices == nil || *req.LogoutDevices
	return nil, a.accounts.SetPassword(ctx, req.UserID, req.Password, logOut, "")
}

type adminResponse struct {
	Admin bool `json:"admin"`
}

func (a *usersAPI) isAdmin(ctx context.Context, _ api.Caller, req *userRequest) (*adminResponse, error) {
	account, err := a.accounts.Account(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	return &adminResponse{account.Admin}, nil
}

type setAdminRequest struct {
	UserID matrix.UserID `path:"userId"`
	Admin  bool          `json:"admin" required:"true"`
}

func (a *usersAPI) setAdmin(ctx context.Context, who api.Caller, req *setAdminRequest) (*struct{}, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	return nil, a.changeAdmin(ctx, who, req.UserID, req.Admin)
}

type joinedRoomsResponse struct {
	Rooms []matrix.RoomID `json:"joined_rooms"`
	Total int             `json:"total"`
}

func (a *usersAPI) joinedRooms(ctx context.Context, _ api.Caller, req *userRequest) (*joinedRoomsResponse, error) {
	list, err := a.rooms.JoinedRooms(ctx, req.UserID)
	return &joinedRoomsResponse{list, len(list)}, err
}

type loginResponse struct {
	AccessToken string `json:"access_token"`
}

// login logs in as a user. The device stands in the user's list like any other.
func (a *usersAPI) login(ctx context.Context, who api.Caller, req *userRequest) (*loginResponse, error) {
	if req.UserID == who.UserID {
		return nil, matrix.InvalidParam("You are logged in as that user already.")
	}
	login, err := a.accounts.LoginAs(ctx, req.UserID, accounts.NewDevice{Name: "Administrator"})
	if err != nil {
		return nil, err
	}
	return &loginResponse{login.AccessToken}, nil
}

type availableRequest struct {
	Username string `query:"username" required:"true"`
}

type availableResponse struct {
	Available bool `json:"available"`
}

func (a *usersAPI) available(ctx context.Context, _ api.Caller, req *availableRequest) (*availableResponse, error) {
	_, err := a.accounts.CheckRegistration(ctx, accounts.Registration{Username: req.Username})
	return &availableResponse{err == nil}, err
}
