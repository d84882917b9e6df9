package eventauth_test

import (
	"testing"

	"trestle/internal/matrix/eventauth"
)

// An ordinary message, with the power levels parsed before: every send.
func BenchmarkAllowedMessage(b *testing.B) {
	for _, version := range []string{"10", "12"} {
		b.Run("v"+version, func(b *testing.B) {
			r := newRoom(&testing.T{}, version)
			e := r.event(message(carol, "m.room.message"))
			parsed := eventauth.PowerLevelsOf(r.create(), r.state.Event("m.room.power_levels", ""))
			state := eventauth.WithPowerLevels(r.state, parsed)
			b.ReportAllocs()
			for b.Loop() {
				if err := eventauth.Allowed(e, state); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAllowedJoin(b *testing.B) {
	r := newRoom(&testing.T{}, "12")
	r.put(joinRule("public"))
	e := r.event(member(dave, dave, "join"))
	parsed := eventauth.PowerLevelsOf(r.create(), r.state.Event("m.room.power_levels", ""))
	state := eventauth.WithPowerLevels(r.state, parsed)
	b.ReportAllocs()
	for b.Loop() {
		if err := eventauth.Allowed(e, state); err != nil {
			b.Fatal(err)
		}
	}
}

// The parsing that a cache of power levels saves.
func BenchmarkPowerLevelsOf(b *testing.B) {
	r := newRoom(&testing.T{}, "12")
	power := r.state.Event("m.room.power_levels", "")
	b.ReportAllocs()
	for b.Loop() {
		eventauth.PowerLevelsOf(r.create(), power)
	}
}

func BenchmarkNeeded(b *testing.B) {
	e := newRoom(&testing.T{}, "12").event(message(carol, "m.room.message"))
	b.ReportAllocs()
	for b.Loop() {
		eventauth.Needed(e)
	}
}
