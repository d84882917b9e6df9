package media

import (
	"fmt"
	"strings"

	"trestle/internal/matrix"
)

// A URI names media: mxc://server/id (Client-Server API § Matrix Content
// (mxc://) URIs).
type URI struct {
	Server matrix.ServerName
	ID     string
}

// String is the URI in full.
func (u URI) String() string { return "mxc://" + string(u.Server) + "/" + u.ID }

// ParseURI reads mxc://server/id.
func ParseURI(s string) (URI, error) {
	rest, ok := strings.CutPrefix(s, "mxc://")
	name, id, found := strings.Cut(rest, "/")
	if !ok || !found {
		return URI{}, fmt.Errorf("%.80q is not an mxc:// URI", s)
	}
	server, err := matrix.ParseServerName(name)
	if err != nil {
		return URI{}, err
	}
	if !ValidID(id) {
		return URI{}, fmt.Errorf("%.80q is not a media ID", id)
	}
	return URI{server, id}, nil
}

// ValidID holds a media ID to § Security considerations: what else it may
// contain leads out of folders.
func ValidID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return id != "" && len(id) <= matrix.MaxIDLength
}
