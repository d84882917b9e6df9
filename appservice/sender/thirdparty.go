package sender

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
	"trestle/registration"
)

// maxThirdParty is how much of a third-party answer is read.
const maxThirdParty = 4 << 20

// Protocols returns the metadata of every protocol that a service offers
// (Client-Server API § Third-party networks). Services that do not answer are
// left out.
func (s *Service) Protocols(ctx context.Context) map[string]*appservice.Protocol {
	var names []string
	for _, r := range s.opts.Registry.Load().All() {
		for _, name := range r.Protocols {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	found := make([]*appservice.Protocol, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { found[i] = s.Protocol(ctx, name) })
	}
	all.Wait()
	protocols := map[string]*appservice.Protocol{}
	for i, name := range names {
		if found[i] != nil {
			protocols[name] = found[i]
		}
	}
	return protocols
}

// Protocol returns the metadata of one protocol, or nil. If several services
// offer it, it is that of the first, with the instances of all.
func (s *Service) Protocol(ctx context.Context, name string) *appservice.Protocol {
	services := s.offering(name)
	answers := gather(ctx, s, services, request{path: appservice.ProtocolPath(name)}, func(id string, p appservice.Protocol) []appservice.Protocol {
		p = p.Whole()
		for i := range p.Instances {
			p.Instances[i].InstanceID = id + "|" + p.Instances[i].NetworkID
		}
		return []appservice.Protocol{p}
	})
	if len(answers) == 0 {
		return nil
	}
	whole := answers[0]
	for _, other := range answers[1:] {
		whole.Instances = append(whole.Instances, other.Instances...)
	}
	return &whole
}

// ThirdPartyUsers asks for the Matrix users of users of a protocol.
func (s *Service) ThirdPartyUsers(ctx context.Context, protocol string, fields url.Values) []appservice.User {
	return gather(ctx, s, s.offering(protocol), request{path: appservice.ThirdPartyUsersPath(protocol), query: fields}, users)
}

// ThirdPartyLocations asks for the aliases of locations of a protocol.
func (s *Service) ThirdPartyLocations(ctx context.Context, protocol string, fields url.Values) []appservice.Location {
	return gather(ctx, s, s.offering(protocol), request{path: appservice.ThirdPartyLocationsPath(protocol), query: fields}, locations)
}

// UsersOf asks for what a Matrix user stands for, where the user is in a
// service's namespace.
func (s *Service) UsersOf(ctx context.Context, user matrix.UserID) []appservice.User {
	r := request{path: appservice.ThirdPartyUsersPath(""), query: url.Values{"userid": {string(user)}}}
	return gather(ctx, s, bridging(s.opts.Registry.Load().UserWatchers(user)), r, users)
}

// LocationsOf asks for what a room alias stands for, where the alias is in a
// service's namespace.
func (s *Service) LocationsOf(ctx context.Context, alias matrix.RoomAlias) []appservice.Location {
	r := request{path: appservice.ThirdPartyLocationsPath(""), query: url.Values{"alias": {string(alias)}}}
	return gather(ctx, s, bridging(s.opts.Registry.Load().AliasWatchers(alias)), r, locations)
}

func users(_ string, list []appservice.User) []appservice.User {
	return slices.DeleteFunc(list, func(u appservice.User) bool { return !u.Named() })
}

func locations(_ string, list []appservice.Location) []appservice.Location {
	return slices.DeleteFunc(list, func(l appservice.Location) bool { return !l.Named() })
}

func (s *Service) offering(protocol string) []*registration.Registration {
	var list []*registration.Registration
	for _, r := range s.opts.Registry.Load().All() {
		if slices.Contains(r.Protocols, protocol) {
			list = append(list, r)
		}
	}
	return list
}

// bridging keeps the services that offer a protocol at all.
func bridging(services []*registration.Registration) []*registration.Registration {
	var list []*registration.Registration
	for _, r := range services {
		if len(r.Protocols) > 0 {
			list = append(list, r)
		}
	}
	return list
}

// gather asks services at the same time and returns what they said, in their
// order. An answer that is none, or is wrong, is left out.
func gather[Answer, Result any](ctx context.Context, s *Service, services []*registration.Registration, r request,
	read func(id string, answer Answer) []Result,
) []Result {
	ctx, cancel := context.WithTimeout(ctx, s.opts.ThirdPartyTimeout)
	defer cancel()
	r.method, r.limit = http.MethodGet, maxThirdParty
	results := make([][]Result, len(services))
	var all sync.WaitGroup
	for i, service := range services {
		q := s.queue(service.ID)
		if q == nil {
			continue
		}
		all.Go(func() {
			begin := time.Now()
			_, link := q.to()
			a, err := link.do(ctx, r)
			var parsed Answer
			switch {
			case err != nil:
			case !a.ok():
				return
			default:
				err = json.Unmarshal(a.body, &parsed)
			}
			if err != nil {
				q.log.Warn("application service did not answer a third-party look-up", "path", r.path.Stable, "error", err, "after", time.Since(begin))
				return
			}
			results[i] = read(service.ID, parsed)
		})
	}
	all.Wait()
	return slices.Concat(results...)
}
