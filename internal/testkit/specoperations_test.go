package testkit_test

import (
	"slices"
	"testing"

	"trestle/internal/testkit"
)

func TestSpecOperations(t *testing.T) {
	byName := map[string]testkit.SpecOperation{}
	for _, op := range testkit.SpecOperations(t) {
		byName[op.Method+" "+op.Path] = op
	}
	invite := byName["POST /_matrix/client/v3/rooms/{roomId}/ban"]
	i := slices.IndexFunc(invite.Fields, func(f testkit.SpecField) bool { return f.Name == "user_id" })
	if !invite.Token || !invite.JSON || i < 0 || !invite.Fields[i].Required || !slices.Contains(invite.Fields[i].Wrong(), "1.5") || slices.Contains(invite.Fields[i].Wrong(), `"\u0000"`) {
		t.Errorf("ban: %+v", invite)
	}
	if backup := byName["PUT /_matrix/client/v3/room_keys/keys"]; !slices.Equal(backup.Query, []string{"version"}) {
		t.Errorf("backup: %+v", backup)
	}
	if login := byName["GET /_matrix/client/v3/login"]; login.Token || login.JSON {
		t.Errorf("login: %+v", login)
	}
}
