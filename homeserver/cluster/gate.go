package cluster

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync/atomic"
)

// A Gate is where the other processes come in. It is closed while this one does
// not lead; the zero value is.
type Gate struct {
	// Leads waits until it is known whether this process leads at this moment. It is set before the gate is opened.
	Leads func(context.Context) bool

	open atomic.Pointer[opening]
}

// An opening is the time of one leadership.
type opening struct {
	secret   string
	handlers map[Entrance]http.Handler
}

// Open lets those in who know the secret of this leadership.
func (g *Gate) Open(secret string, handlers map[Entrance]http.Handler) {
	g.open.Store(&opening{secret, handlers})
}

// Close lets nobody in any more.
func (g *Gate) Close() { g.open.Store(nil) }

// ServeHTTP serves a request as if it had come to this process: from whom and
// how the other one says. Everybody else is turned away before anything happens.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o := g.open.Load()
	if o == nil || !same(o.secret, r.Header.Get(secretHeader)) {
		refuse(w)
		return
	}
	handler := o.handlers[Entrance(r.Header.Get(entranceHeader))]
	if handler == nil || !g.Leads(r.Context()) {
		refuse(w)
		return
	}
	// The headers stay: a request that waits in a listeners.Lot comes here again.
	seen := *r
	seen.RemoteAddr = r.Header.Get(peerHeader)
	if r.Header.Get(schemeHeader) == "https" {
		seen.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	handler.ServeHTTP(w, &seen)
}

func refuse(w http.ResponseWriter) {
	w.Header().Set(refusedHeader, "1")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusMisdirectedRequest)
}
