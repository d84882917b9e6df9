// Package telemetry is how a running server can be looked at from outside:
// its log, its metrics, its health and what it was built from.
package telemetry
