package cluster_test

import (
	"path/filepath"
	"testing"

	"trestle/internal/testkit"
	"trestle/registration"
)

// The bundled bridge runs in the process that leads, and in no other: those that
// stand by leave its registration alone, and end when they are told to.
func TestTheBundledBridgeGoesWithTheLeader(t *testing.T) {
	t.Parallel()
	w := &world{t: t, database: testkit.Postgres(t), data: filepath.Join(t.TempDir(), "data")}
	for i := range 2 {
		server := testkit.StartTrestle(t, testkit.TrestleOptions{
			Data: w.data, Database: w.database, Bridges: true,
			Args: []string{"--cluster", "127.0.0.1:0", "--irc-network", "local=127.0.0.1:1"},
		})
		w.processes = append(w.processes, &process{Trestle: server, number: i})
	}
	first := w.bridge()
	leader, other := w.processes[0], w.processes[1]
	other.Stop()
	other.Start()
	if now := w.bridge(); now.URL != first.URL {
		t.Errorf("the bridge was at %s, and is said to be at %s by a process that stands by", first.URL, now.URL)
	}
	leader.Kill()
	if w.leader(leader) != other {
		t.Fatal("another process leads")
	}
	if now := w.bridge(); now.URL == first.URL || now.ASToken != first.ASToken {
		t.Errorf("the bridge was %s, and is %s now", first.URL, now.URL)
	}
}

// bridge is the bridge's registration, once the homeserver reaches it there.
func (w *world) bridge() *registration.Registration {
	w.t.Helper()
	reg, err := registration.LoadFile(filepath.Join(w.data, "appservices", "irc.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.do("POST", "/_matrix/client/v1/appservice/"+reg.ID+"/ping", reg.ASToken, map[string]any{})
	return reg
}
