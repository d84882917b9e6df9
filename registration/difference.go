package registration

import (
	"reflect"
	"slices"
	"strings"
)

// A Change is what became of one service between two sets.
type Change struct {
	ID   string     `json:"id"`
	Kind ChangeKind `json:"change"`
	Keys []string   `json:"keys,omitempty"` // of the file, whose values are others; never the values
}

// A ChangeKind says whether a service has come, gone or changed.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Changed ChangeKind = "changed"
	Removed ChangeKind = "removed"
)

// String is the change for logs.
func (c Change) String() string {
	if len(c.Keys) == 0 {
		return c.ID + " " + string(c.Kind)
	}
	return c.ID + " " + string(c.Kind) + " (" + strings.Join(c.Keys, ", ") + ")"
}

// Differences is what has to change for one set to become the other: first what
// is new or another, in the order of the newer set, then what is gone.
func Differences(before, after *Set) []Change {
	var list []Change
	for _, r := range after.All() {
		old := before.ByID(r.ID)
		if old == nil {
			list = append(list, Change{ID: r.ID, Kind: Added})
		} else if keys := differentKeys(old, r); len(keys) > 0 {
			list = append(list, Change{r.ID, Changed, keys})
		}
	}
	for _, r := range before.All() {
		if after.ByID(r.ID) == nil {
			list = append(list, Change{ID: r.ID, Kind: Removed})
		}
	}
	return list
}

func differentKeys(a, b *Registration) []string {
	var keys []string
	compare := func(key string, same bool) {
		if !same {
			keys = append(keys, key)
		}
	}
	compare("url", a.URL == b.URL)
	compare("as_token", a.ASToken == b.ASToken)
	compare("hs_token", a.HSToken == b.HSToken)
	compare("sender_localpart", a.SenderLocalpart == b.SenderLocalpart)
	compare("namespaces.users", slices.EqualFunc(a.Namespaces.Users, b.Namespaces.Users, sameSpace))
	compare("namespaces.aliases", slices.EqualFunc(a.Namespaces.Aliases, b.Namespaces.Aliases, sameSpace))
	compare("namespaces.rooms", slices.EqualFunc(a.Namespaces.Rooms, b.Namespaces.Rooms, sameSpace))
	compare("rate_limited", a.RateLimited == b.RateLimited)
	compare("protocols", slices.Equal(a.Protocols, b.Protocols))
	compare("receive_ephemeral", a.ReceiveEphemeral == b.ReceiveEphemeral)
	compare("de.sorunome.msc2409.push_ephemeral", a.PushEphemeral == b.PushEphemeral)
	compare("org.matrix.msc3202", a.DeviceLists == b.DeviceLists)
	compare("io.element.msc4190", a.DeviceManagement == b.DeviceManagement)
	compare("trestle.query_token", a.QueryToken == b.QueryToken)
	compare("trestle.previous_tokens", reflect.DeepEqual(a.Previous, b.Previous))
	return keys
}

func sameSpace(a, b Namespace) bool { return a.Regex == b.Regex && a.Exclusive == b.Exclusive }
