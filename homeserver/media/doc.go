// Package media is the content repository: it takes in what users upload,
// keeps each content once, under its hash, and gives it out again, whole or as
// a thumbnail.
package media
