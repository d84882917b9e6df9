// Package jsservice has the end-to-end tests in which the application services
// are made with matrix-bot-sdk and matrix-appservice-bridge, the libraries of
// most bots and bridges in JavaScript. The services are programs of a page or
// two, as their authors would write them; every request that they make is held
// to the specification.
package jsservice
