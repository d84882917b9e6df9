// Package console is the operator's console: pages at /_trestle/console that
// show the delivery to application services and let administrators act on it.
// They are made here, whole, and read without scripts; with them they follow
// what happens.
package console

import (
	"context"
	"net/url"
	"sync/atomic"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/api"
	"trestle/homeserver/browsers"
	"trestle/homeserver/console/record"
	"trestle/homeserver/ledger"
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
	forgetPath      = Root + "/forget"
	logPath         = Root + "/log"
	livePath        = Root + "/live"
	stylePath       = Root + "/console.css"
	scriptPath      = Root + "/console.js"
)

// Deliveries are what the sender to application services knows.
type Deliveries interface {
	Status() []sender.Status
	// Gone is what is kept of services that are not registered any more.
	Gone(ctx context.Context) ([]appservice.Place, error)
	// Frozen is the transaction that is sent or waits to be.
	Frozen(ctx context.Context, id string) (appservice.Frozen, error)
	DeadLetters(ctx context.Context, id string, from int64, limit int) ([]appservice.DeadLetter, error)
	DeadLetter(ctx context.Context, number int64) (appservice.DeadLetter, error)
}

// Options are what the console works with. Elsewhere, Limiter and Tick may be
// left out.
type Options struct {
	ServerName matrix.ServerName
	Version    string // of the software
	BaseURL    string // the server's public address, without a slash at the end
	Secret     []byte // authenticates what pages send back
	Record     *record.Service
	Deliveries Deliveries
	Ledger     *ledger.Service // does what administrators want done
	Registry   *registration.Registry
	Elsewhere  browsers.Elsewhere // where administrators sign in besides here; default nowhere
	Limiter    api.Limiter        // of attempts to sign in
	Tick       time.Duration      // between looks at what has changed; 2 s
}

// consoleAPI is the console of one server.
type consoleAPI struct {
	Options
	base    *url.URL
	pages   *browsers.Pages
	streams atomic.Int64 // pages that follow what happens
	now     func() time.Time
}

// Routes are the pages of the console.
func Routes(options Options) []api.Route {
	if options.Tick <= 0 {
		options.Tick = 2 * time.Second
	}
	if options.Elsewhere.Providers == nil {
		options.Elsewhere = browsers.Nowhere()
	}
	a := &consoleAPI{Options: options, pages: browsers.NewPages(options.BaseURL, options.Secret), now: time.Now}
	a.base, _ = url.Parse(options.BaseURL)
	if a.base == nil {
		a.base = new(url.URL)
	}
	unlimited, body := api.Limit(""), api.BodyLimit(browsers.MaxForm) // unlimited: until the page itself counts
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
		api.Raw("POST", forgetPath, api.None, a.private(a.forget), body),
		api.Raw("GET", logPath, api.None, a.private(a.showLog)),
		api.Raw("GET", livePath, api.None, a.private(a.follow)),
	}
}
