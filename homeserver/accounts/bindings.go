package accounts

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// IdentityServers are those that the operator trusts.
type IdentityServers interface {
	Trusts(server string) bool
	Bind(ctx context.Context, server, token, sid, clientSecret string, user matrix.UserID) (medium, address string, err error)
	Unbind(ctx context.Context, server string, user matrix.UserID, medium, address string) error
}

// BindThreePID tells an identity server whose address it has verified.
// M_SERVER_NOT_TRUSTED for servers that the operator does not trust; its own
// errors are passed on.
func (s *Service) BindThreePID(ctx context.Context, user matrix.UserID, idServer, token, sid, clientSecret string) error {
	if s.options.Identity == nil || !s.options.Identity.Trusts(idServer) {
		return matrix.NewError(http.StatusBadRequest, "M_SERVER_NOT_TRUSTED", "This server does not trust the identity server %.80q.", idServer)
	}
	medium, address, err := s.options.Identity.Bind(ctx, idServer, token, sid, clientSecret, user)
	if err != nil {
		return err
	}
	binding := storage.Binding{Medium: medium, Address: address, IDServer: idServer}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.options.Store.ThreePID.Bind(ctx, tx, user, binding) })
	if err != nil || s.observers.Bindings == nil {
		return err
	}
	// The address is bound, whatever comes of invites to it.
	if err := s.observers.Bindings.Bound(ctx, user, binding); err != nil {
		s.options.Log.ErrorContext(ctx, "invites to an address are not delivered", "user", user, "err", err)
	}
	return nil
}

// UnbindThreePID has identity servers forget an address: the one that is named
// or, without a name, those that this server has told. It reports whether they
// did; false too if there is none to ask.
func (s *Service) UnbindThreePID(ctx context.Context, user matrix.UserID, medium, address, idServer string) (bool, error) {
	bindings, err := s.bindings(ctx, user, medium, address)
	if err != nil {
		return false, err
	}
	if idServer != "" {
		bindings = []storage.Binding{{Medium: medium, Address: address, IDServer: idServer}}
	}
	return len(bindings) > 0 && s.unbind(ctx, user, bindings), nil
}

// UnbindAll has identity servers forget all addresses of a user: the one that is named or,
// without a name, those that this server has told. It reports whether none is left bound.
func (s *Service) UnbindAll(ctx context.Context, user matrix.UserID, idServer string) (bool, error) {
	bindings, err := s.options.Store.ThreePID.Bindings(ctx, s.options.DB.Read(), user)
	if err != nil || idServer == "" {
		return err == nil && s.unbind(ctx, user, bindings), err
	}
	list, err := s.ThreePIDs(ctx, user)
	if err != nil {
		return false, err
	}
	for i := range bindings {
		bindings[i].IDServer = idServer
	}
	for _, p := range list {
		bindings = append(bindings, storage.Binding{Medium: p.Medium, Address: p.Address, IDServer: idServer})
	}
	slices.SortFunc(bindings, func(x, y storage.Binding) int {
		return cmp.Or(cmp.Compare(x.Medium, y.Medium), cmp.Compare(x.Address, y.Address))
	})
	return s.unbind(ctx, user, slices.Compact(bindings)), nil
}

func (s *Service) bindings(ctx context.Context, user matrix.UserID, medium, address string) ([]storage.Binding, error) {
	all, err := s.options.Store.ThreePID.Bindings(ctx, s.options.DB.Read(), user)
	var of []storage.Binding
	for _, b := range all {
		if b.Medium == medium && b.Address == address {
			of = append(of, b)
		}
	}
	return of, err
}

// unbind asks each server; those that refuse or cannot be reached are logged,
// because the user goes on without them.
func (s *Service) unbind(ctx context.Context, user matrix.UserID, bindings []storage.Binding) bool {
	all := true
	for _, b := range bindings {
		if s.options.Identity == nil || !s.options.Identity.Trusts(b.IDServer) {
			all = false
			continue
		}
		err := s.options.Identity.Unbind(ctx, b.IDServer, user, b.Medium, b.Address)
		if err == nil {
			err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
				return s.options.Store.ThreePID.Unbind(ctx, tx, user, b)
			})
		}
		if err != nil {
			s.options.Log.WarnContext(ctx, "address not unbound", "user", user, "server", b.IDServer, "err", err)
			all = false
		}
	}
	return all
}
