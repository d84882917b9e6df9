// Package cluster has several servers share a database, and kills those that
// lead.
package cluster
