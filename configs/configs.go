// Package configs holds the annotated sample configuration, which is also
// what the first start writes into a data folder.
package configs

import _ "embed"

// Sample is trestle.yaml. A test of internal/config holds every value in it
// equal to the default.
//
//go:embed trestle.yaml
var Sample []byte
