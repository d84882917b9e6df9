// Package config is everything that an operator can set: one structure, its
// defaults, and the strict reading of it from a YAML file, from environment
// variables and from flags.
//
// A setting has one name everywhere. The key server_name of the file is the
// flag --server-name and the variable TRESTLE_SERVER_NAME; the key
// logging.level is TRESTLE_LOGGING_LEVEL. A flag wins over a variable, a
// variable over the file, the file over the default. What is not understood
// is an error that names file and line, never ignored.
package config
