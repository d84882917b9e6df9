package api

import (
	"context"
	"errors"

	"trestle/internal/matrix"
)

// As is the caller of an application service's request as one of its users, for requests that
// do something for many of them: who that is, what is permitted and how often, is decided as for a request of
// that user to the same route, counted against a bucket. An empty user is the service's own.
// Errors are those of such a request.
func As(ctx context.Context, user matrix.UserID, device matrix.DeviceID, bucket string) (Caller, error) {
	c, ok := ctx.Value(requestKey{}).(requestContext)
	if !ok {
		return Caller{}, errors.New("the context is that of no request")
	}
	x := exchange{server: c.server, route: c.route, r: c.request}
	presented := x.credentials()
	presented.AssertedUser, presented.AssertedDevice, presented.UserToken = user, device, ""
	who, err := c.server.options.Authenticator.Authenticate(ctx, presented)
	if err != nil {
		return who, err
	}
	who.RemoteAddr, who.UserAgent = presented.RemoteAddr, presented.UserAgent
	if err := permit(c.route, who); err != nil {
		return who, err
	}
	if limiter := c.server.options.Limiter; limiter != nil && !who.Unlimited {
		err = limiter.Allow(bucket, who)
	}
	return who, err
}
