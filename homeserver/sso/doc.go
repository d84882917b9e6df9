// Package sso lets people log in by OpenID Connect at other places, the
// providers that the operator has set up, and knows who they are here
// (Client-Server API § SSO client login/authentication).
//
// A login is a flow of steps, each of them one request of the browser. What is
// known so far stays in the database, so that any process takes the next step;
// the browser carries a token that is good for this step alone, and a cookie by
// which it is told from other browsers. The state that goes to the provider is
// such a token.
package sso
