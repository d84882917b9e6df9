// Package console is the operator's console: pages at /_trestle/console that
// show the delivery to application services and let administrators act on it.
// They are made here, whole, and read without scripts; with them they follow
// what happens.
package console

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/api"
	"trestle/homeserver/console/record"
	"trestle/internal/matrix"
	"trestle/registration"
)

// Root is where the console begins.
const Root = "/_trestle/console"

// Paths of the pages.
const (
	loginPath       = Root + "/login"
	logoutPath      = Root + "/logout"
	servicePath     = Root + "/appservice"
	transactionPath = Root + "/transaction"
	lettersPath     = Root + "/letters"
	letterPath      = Root + "/letter"
	livePath        = Root + "/live"
	stylePath       = Root + "/console.css"
	scriptPath      = Root + "/console.js"
)

// Deliveries are what the sender to application services does.
type Deliveries interface {
	Status() []sender.Status
	Retry(id string)
	// Ping asks a service whether it is there.
	Ping(ctx context.Context, id, transactionID string) (time.Duration, error)
	Pause(ctx context.Context, id, reason string) error
	Resume(ctx context.Context, id string) error
	// Frozen is the transaction that is sent or waits to be, and Skip makes a
	// dead letter of it.
	Frozen(ctx context.Context, id string) (appservice.Frozen, error)
	Skip(ctx context.Context, id, transactionID, reason, by string) error
	DeadLetters(ctx context.Context, id string, from int64, limit int) ([]appservice.DeadLetter, error)
	DeadLetter(ctx context.Context, number int64) (appservice.DeadLetter, error)
	Replay(ctx context.Context, number int64) error
	Discard(ctx context.Context, number int64) error
}

// Options are what the console works with. Limiter and Tick may be left out.
type Options struct {
	ServerName matrix.ServerName
	Version    string // of the software
	BaseURL    string // the server's public address, without a slash at the end
	Secret     []byte // authenticates what pages send back
	Record     *record.Service
	Deliveries Deliveries
	Registry   *registration.Registry
	Limiter    api.Limiter   // of attempts to sign in
	Tick       time.Duration // between looks at what has changed; 2 s
}

// consoleAPI is the console of one server.
type consoleAPI struct {
	Options
	base    *url.URL
	foreign *http.CrossOriginProtection
	streams atomic.Int64 // pages that follow what happens
	now     func() time.Time
}

// maxForm bounds what a page sends, in bytes.
const maxForm = 64 << 10

// Routes are the pages of the console.
func Routes(options Options) []api.Route {
	if options.Tick <= 0 {
		options.Tick = 2 * time.Second
	}
	a := &consoleAPI{Options: options, foreign: http.NewCrossOriginProtection(), now: time.Now}
	a.base, _ = url.Parse(options.BaseURL)
	if a.base == nil {
		a.base = new(url.URL)
	}
	if a.base.Host != "" {
		_ = a.foreign.AddTrustedOrigin(a.base.Scheme + "://" + a.base.Host) // what a proxy says is another matter
	}
	unlimited, body := api.Limit(""), api.BodyLimit(maxForm) // unlimited: until the page itself counts
	return []api.Route{
		api.Raw("GET", stylePath, api.None, asset("text/css; charset=utf-8", style)),
		api.Raw("GET", scriptPath, api.None, asset("text/javascript; charset=utf-8", script)),
		api.Raw("GET", loginPath, api.None, a.page(a.showLogin)),
		api.Raw("POST", loginPath, api.None, a.page(a.logIn), unlimited, body),
		api.Raw("POST", logoutPath, api.None, a.private(a.logOut), body),
		api.Raw("GET", Root+"/", api.None, a.private(a.showOverview)),
		api.Raw("GET", servicePath, api.None, a.private(a.showService)),
		api.Raw("POST", servicePath, api.None, a.private(a.changeService), body),
		api.Raw("GET", transactionPath, api.None, a.private(a.showTransaction)),
		api.Raw("POST", transactionPath, api.None, a.private(a.skip), body),
		api.Raw("GET", lettersPath, api.None, a.private(a.showLetters)),
		api.Raw("GET", letterPath, api.None, a.private(a.showLetter)),
		api.Raw("POST", letterPath, api.None, a.private(a.changeLetter), body),
		api.Raw("GET", livePath, api.None, a.private(a.follow)),
	}
}
