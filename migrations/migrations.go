// Package migrations embeds the schemas: files NNNN_name.sql, applied in the
// order of their numbers and never changed afterwards. See package database for
// their dialect.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed all:homeserver all:bridges
var files embed.FS

var (
	// Homeserver is the schema of the homeserver.
	Homeserver = directory("homeserver")
	// Bridges is the schema of the bridges' own store.
	Bridges = directory("bridges")
)

func directory(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // the name is not a path
	}
	return sub
}
