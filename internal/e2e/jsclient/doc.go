// Package jsclient has the end-to-end tests in which matrix-js-sdk, the
// library of many a Matrix client, is the client. The stories are told in
// JavaScript; Go starts the servers, and holds every exchange between them and
// the library to the specification.
package jsclient
