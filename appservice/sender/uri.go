package sender

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"trestle/appservice"
	"trestle/internal/matrix"
	"trestle/registration"
)

// maxURI bounds the URIs that are looked up, in bytes.
const maxURI = 2048

// protocolsOf is the names of protocols that a URI may belong to: its scheme,
// or what else networks with that scheme are called.
func protocolsOf(uri string) ([]string, error) {
	parsed, err := url.Parse(uri)
	if err != nil || len(uri) > maxURI || parsed.Scheme == "" || len(uri) == len(parsed.Scheme)+1 {
		return nil, matrix.InvalidParam("%.80q is no URI, such as irc://irc.example.org/channel.", uri)
	}
	switch scheme := strings.ToLower(parsed.Scheme); scheme {
	case "ircs", "irc6", "ircs6":
		return []string{scheme, "irc"}, nil
	case "sips":
		return []string{scheme, "sip"}, nil
	case "mailto":
		return []string{scheme, "email", "mail"}, nil
	case "tel":
		return []string{scheme, "msisdn"}, nil
	default:
		return []string{scheme}, nil
	}
}

// UserOfURI asks the services that own a URI's protocol for the Matrix user who
// stands for whom it names. M_INVALID_PARAM, or M_NOT_FOUND if nobody knows.
func (s *Service) UserOfURI(ctx context.Context, uri string) (matrix.UserID, error) {
	return ofURI(ctx, s, uri, appservice.URIUserPath(), func(set *registration.Set, r *registration.Registration, a appservice.URIAnswer) matrix.UserID {
		if !set.Covers(r, a.UserID) {
			return ""
		}
		return a.UserID
	})
}

// AliasOfURI is [Service.UserOfURI] for the alias of the room that a URI names.
func (s *Service) AliasOfURI(ctx context.Context, uri string) (matrix.RoomAlias, error) {
	return ofURI(ctx, s, uri, appservice.URIAliasPath(), func(set *registration.Set, r *registration.Registration, a appservice.URIAnswer) matrix.RoomAlias {
		if a.Alias.Server() != set.Server() || !slices.Contains(set.AliasWatchers(a.Alias), r) {
			return ""
		}
		return a.Alias
	})
}

// ofURI believes services for what is in their namespaces.
func ofURI[ID ~string](ctx context.Context, s *Service, uri string, path appservice.Path,
	read func(set *registration.Set, r *registration.Registration, a appservice.URIAnswer) ID,
) (ID, error) {
	protocols, err := protocolsOf(uri)
	if err != nil {
		return "", err
	}
	var owners []*registration.Registration
	for _, protocol := range protocols {
		owners = union(owners, s.offering(protocol))
	}
	set := s.opts.Registry.Load()
	found := gather(ctx, s, owners, request{path: path, query: url.Values{"uri": {uri}}}, func(id string, a appservice.URIAnswer) []ID {
		if r := set.ByID(id); r != nil {
			if name := read(set, r, a); name != "" {
				return []ID{name}
			}
		}
		return nil
	})
	if len(found) == 0 {
		return "", matrix.NotFound("No application service here knows %.200s.", uri)
	}
	return found[0], nil
}
