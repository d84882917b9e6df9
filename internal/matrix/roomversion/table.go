package roomversion

// The table is built version upon version, as the specification tells it:
// each entry says only what it changes.
var (
	v1 = Version{
		ID:                       "1",
		EventIDFormat:            EventIDInEvent,
		HashedReferences:         true,
		StateResolution:          V1,
		Redaction:                redactionV1,
		SpecialCaseAliasesAuth:   true,
		SpecialCaseRedactionAuth: true,
		FloatPowerLevels:         true,
		LaxLengths:               true,
		supported:                true,
	}
	v2 = v1.next("2", func(v *Version) { v.StateResolution = V2 })
	v3 = v2.next("3", func(v *Version) {
		v.EventIDFormat = EventIDBase64
		v.HashedReferences = false
		v.SpecialCaseRedactionAuth = false
	})
	v4 = v3.next("4", func(v *Version) { v.EventIDFormat = EventIDURLSafe })
	v5 = v4.next("5", func(v *Version) { v.EnforceKeyValidity = true })
	v6 = v5.next("6", func(v *Version) {
		v.StrictJSON = true
		v.Redaction = redactionV6
		v.SpecialCaseAliasesAuth = false
		v.LimitNotificationLevels = true
		v.FloatPowerLevels = false
	})
	v7 = v6.next("7", func(v *Version) { v.Knocking = true })
	v8 = v7.next("8", func(v *Version) {
		v.Restricted = true
		v.Redaction = redactionV8
	})
	v9  = v8.next("9", func(v *Version) { v.Redaction = redactionV9 })
	v10 = v9.next("10", func(v *Version) {
		v.KnockRestricted = true
		v.StrictPowerLevels = true
	})
	v11 = v10.next("11", func(v *Version) {
		v.Redaction = redactionV11
		v.CreatorFromSender = true
		v.RedactsInContent = true
		v.LaxLengths = false
	})
	v12 = v11.next("12", func(v *Version) {
		v.StateResolution = V2_1
		v.RoomIDFromCreate = true
		v.PrivilegedCreators = true
	})

	versions = []*Version{&v1, &v2, &v3, &v4, &v5, &v6, &v7, &v8, &v9, &v10, &v11, &v12}
	byID     = index(versions)
)

func (v Version) next(id string, change func(*Version)) Version {
	v.ID = id
	change(&v)
	return v
}

func index(versions []*Version) map[string]*Version {
	byID := make(map[string]*Version, len(versions))
	for _, v := range versions {
		byID[v.ID] = v
	}
	return byID
}
