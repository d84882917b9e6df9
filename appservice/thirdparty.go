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

// Whole is the protocol with all that the specification requires: lists and
// objects that are missing are empty, and what is no description of a field or
// has no network ID is left out.
func (p Protocol) Whole() Protocol {
	p.UserFields, p.LocationFields = append([]string{}, p.UserFields...), append([]string{}, p.LocationFields...)
	types := map[string]json.RawMessage{}
	for name, description := range p.FieldTypes {
		var described struct{ Regexp, Placeholder *string }
		if json.Unmarshal(description, &described) == nil && described.Regexp != nil && described.Placeholder != nil {
			types[name] = description
		}
	}
	p.FieldTypes = types
	instances := []Instance{}
	for _, instance := range p.Instances {
		if instance.NetworkID == "" {
			continue
		}
		if !isObject(instance.Fields) {
			instance.Fields = json.RawMessage("{}")
		}
		instances = append(instances, instance)
	}
	p.Instances = instances
	return p
}

func isObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }

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

// Named reports whether the location says what it is and where.
func (l Location) Named() bool { return l.Alias != "" && l.Protocol != "" && isObject(l.Fields) }

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

// Named reports whether the user says who he is and where.
func (u User) Named() bool { return u.UserID != "" && u.Protocol != "" && isObject(u.Fields) }
