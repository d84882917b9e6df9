package appservice

import (
	"encoding/json"

	"trestle/internal/matrix"
)

// A Protocol describes a third-party network (§ Third-party networks).
type Protocol struct {
	UserFields     []string                   `json:"user_fields"`
	LocationFields []string                   `json:"location_fields"`
	Icon           string                     `json:"icon"`
	FieldTypes     map[string]json.RawMessage `json:"field_types"`
	Instances      []Instance                 `json:"instances"`
}

// An Instance is one network of a protocol.
type Instance struct {
	NetworkID string          `json:"network_id"`
	Desc      string          `json:"desc"`
	Icon      string          `json:"icon,omitempty"`
	Fields    json.RawMessage `json:"fields"`
	// InstanceID is set by the homeserver; publicRooms takes it as
	// third_party_instance_id.
	InstanceID string `json:"instance_id,omitempty"`
}

// A Location is a place in a third-party network and the alias that leads to
// it.
type Location struct {
	Alias    matrix.RoomAlias `json:"alias"`
	Protocol string           `json:"protocol"`
	Fields   json.RawMessage  `json:"fields"`
}

// A URIAnswer is what a service says of a URI: which user or which room it
// names.
type URIAnswer struct {
	UserID matrix.UserID    `json:"user_id,omitempty"`
	Alias  matrix.RoomAlias `json:"alias,omitempty"`
}

// A User is a user of a third-party network and the Matrix user who stands
// for it.
type User struct {
	UserID   matrix.UserID   `json:"userid"`
	Protocol string          `json:"protocol"`
	Fields   json.RawMessage `json:"fields"`
}
