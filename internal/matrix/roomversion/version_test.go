package roomversion_test

import (
	"slices"
	"strconv"
	"testing"

	"trestle/internal/matrix/roomversion"
)

func TestAllVersionsInOrder(t *testing.T) {
	for i, v := range roomversion.All() {
		id := strconv.Itoa(i + 1)
		if v.ID != id {
			t.Errorf("version %d has the ID %q", i+1, v.ID)
		}
		if found, ok := roomversion.Lookup(id); !ok || found != v {
			t.Errorf("Lookup(%q) = %v, %v", id, found, ok)
		}
		if !v.Supported() {
			t.Errorf("version %s is not supported", id)
		}
	}
	if len(roomversion.All()) != 12 {
		t.Errorf("there are %d versions", len(roomversion.All()))
	}
}

func TestUnknownVersion(t *testing.T) {
	for _, id := range []string{"", "0", "13", "01", "org.example.1"} {
		if v, ok := roomversion.Lookup(id); ok || v != nil {
			t.Errorf("Lookup(%q) found %v", id, v)
		}
	}
}

func TestDefaultIsSupported(t *testing.T) {
	if v, ok := roomversion.Lookup(roomversion.Default); !ok || !v.Supported() {
		t.Error("new rooms can't be made")
	}
}

func TestAllIsACopy(t *testing.T) {
	roomversion.All()[0] = nil
	if roomversion.All()[0] == nil {
		t.Error("a caller changed the table")
	}
}

// TestFlags holds each flag against the version that brought or ended it, as
// the pages of the specification say.
func TestFlags(t *testing.T) {
	flags := []struct {
		name        string
		first, last int
		of          func(v *roomversion.Version) bool
	}{
		{"HashedReferences", 1, 2, func(v *roomversion.Version) bool { return v.HashedReferences }},
		{"SpecialCaseRedactionAuth", 1, 2, func(v *roomversion.Version) bool { return v.SpecialCaseRedactionAuth }},
		{"SpecialCaseAliasesAuth", 1, 5, func(v *roomversion.Version) bool { return v.SpecialCaseAliasesAuth }},
		{"FloatPowerLevels", 1, 5, func(v *roomversion.Version) bool { return v.FloatPowerLevels }},
		{"EnforceKeyValidity", 5, 12, func(v *roomversion.Version) bool { return v.EnforceKeyValidity }},
		{"StrictJSON", 6, 12, func(v *roomversion.Version) bool { return v.StrictJSON }},
		{"LimitNotificationLevels", 6, 12, func(v *roomversion.Version) bool { return v.LimitNotificationLevels }},
		{"Knocking", 7, 12, func(v *roomversion.Version) bool { return v.Knocking }},
		{"Restricted", 8, 12, func(v *roomversion.Version) bool { return v.Restricted }},
		{"KnockRestricted", 10, 12, func(v *roomversion.Version) bool { return v.KnockRestricted }},
		{"StrictPowerLevels", 10, 12, func(v *roomversion.Version) bool { return v.StrictPowerLevels }},
		{"CreatorFromSender", 11, 12, func(v *roomversion.Version) bool { return v.CreatorFromSender }},
		{"RedactsInContent", 11, 12, func(v *roomversion.Version) bool { return v.RedactsInContent }},
		{"RoomIDFromCreate", 12, 12, func(v *roomversion.Version) bool { return v.RoomIDFromCreate }},
		{"PrivilegedCreators", 12, 12, func(v *roomversion.Version) bool { return v.PrivilegedCreators }},

		{"event IDs in events", 1, 2, func(v *roomversion.Version) bool { return v.EventIDFormat == roomversion.EventIDInEvent }},
		{"event IDs in base64", 3, 3, func(v *roomversion.Version) bool { return v.EventIDFormat == roomversion.EventIDBase64 }},
		{"event IDs for URLs", 4, 12, func(v *roomversion.Version) bool { return v.EventIDFormat == roomversion.EventIDURLSafe }},
		{"state resolution 1", 1, 1, func(v *roomversion.Version) bool { return v.StateResolution == roomversion.V1 }},
		{"state resolution 2", 2, 11, func(v *roomversion.Version) bool { return v.StateResolution == roomversion.V2 }},
		{"state resolution 2.1", 12, 12, func(v *roomversion.Version) bool { return v.StateResolution == roomversion.V2_1 }},

		{"rule knock", 7, 12, func(v *roomversion.Version) bool { return v.HasKnockRule("knock") }},
		{"rule knock_restricted knocks", 10, 12, func(v *roomversion.Version) bool { return v.HasKnockRule("knock_restricted") }},
		{"rule restricted", 8, 12, func(v *roomversion.Version) bool { return v.HasRestrictedRule("restricted") }},
		{"rule knock_restricted joins", 10, 12, func(v *roomversion.Version) bool { return v.HasRestrictedRule("knock_restricted") }},
		{"rule public", 0, 0, func(v *roomversion.Version) bool { return v.HasKnockRule("public") || v.HasRestrictedRule("public") }},

		{"aliases survive redaction", 1, 5, keeps("m.room.aliases", "aliases")},
		{"creator survives redaction", 1, 10, keeps("m.room.create", "creator")},
		{"allow survives redaction", 8, 12, keeps("m.room.join_rules", "allow")},
		{"who vouched survives redaction", 9, 12, keeps("m.room.member", "join_authorised_via_users_server")},
		{"invite level survives redaction", 11, 12, keeps("m.room.power_levels", "invite")},
		{"ban level survives redaction", 1, 12, keeps("m.room.power_levels", "ban")},
		{"redacts survives redaction", 11, 12, keeps("m.room.redaction", "redacts")},
		{"create survives redaction whole", 11, 12, func(v *roomversion.Version) bool { return v.Redaction.Content["m.room.create"].All }},
		{"origin survives redaction", 1, 10, func(v *roomversion.Version) bool { return slices.Contains(v.Redaction.Members, "origin") }},
		{"redacts at the top survives redaction", 0, 0, func(v *roomversion.Version) bool { return slices.Contains(v.Redaction.Members, "redacts") }},
	}
	for _, flag := range flags {
		for i, v := range roomversion.All() {
			if want := flag.first <= i+1 && i+1 <= flag.last; flag.of(v) != want {
				t.Errorf("version %s: %s is %v", v.ID, flag.name, !want)
			}
		}
	}
}

func keeps(typ, key string) func(*roomversion.Version) bool {
	return func(v *roomversion.Version) bool { return slices.Contains(v.Redaction.Content[typ].Keys, key) }
}
