package homeserver_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// TestTalkOutlivesBothServers has two people talk while their servers, as processes, are killed in turn: each hears all that
// the other has said, once and in the order in which it was said.
func TestTalkOutlivesBothServers(t *testing.T) {
	const rounds, each = 6, 12
	authority := testkit.NewAuthority(t)
	serve := func() *testkit.Trestle {
		certificate, key := authority.Files("127.0.0.1")
		name := testkit.FreeAddress(t)
		return testkit.StartTrestle(t, testkit.TrestleOptions{
			ServerName: name,
			Args: []string{
				"--federation-listen", name, "--tls-cert", certificate, "--tls-key", key, "--ca-file", authority.File(), "--open-registration",
			},
			Env: []string{"TRESTLE_FEDERATION_ALLOW_ADDRESSES=127.0.0.0/8"},
		})
	}
	servers := []*testkit.Trestle{serve(), serve()}
	people := []*mautrix.Client{login(t, servers[0].BaseURL, "alice"), login(t, servers[1].BaseURL, "bob")}
	room, err := people[0].CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "hall"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people[1].JoinRoom(t.Context(), "#hall:"+servers[0].ServerName, nil); err != nil {
		t.Fatal(err)
	}
	want := make([][]string, 2)
	speak := func(i int) {
		t.Helper()
		text := fmt.Sprintf("%d says %d", i, len(want[i]))
		if _, err := people[i].SendText(t.Context(), room.RoomID, text); err != nil {
			t.Fatal(err)
		}
		want[i] = append(want[i], text)
	}
	for round := range rounds {
		for range each {
			speak(0)
			speak(1)
		}
		killed := servers[round%2]
		killed.Kill()
		speak(1 - round%2) // to a server that is not there
		killed.Start()
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i, listener := range people {
		wanted := want[1-i]
		for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
			got := heard(t, listener, room.RoomID, people[1-i].UserID)
			if len(got) < len(wanted) && time.Now().Before(deadline) {
				continue
			}
			if !slices.Equal(got, wanted) {
				t.Errorf("%s has heard %d of %d: %v", listener.UserID, len(got), len(wanted), got)
			}
			break
		}
	}
}

// heard is what somebody has said, as another one finds it in the history.
func heard(t *testing.T, who *mautrix.Client, room id.RoomID, speaker id.UserID) []string {
	t.Helper()
	page, err := who.Messages(t.Context(), room, "", "", mautrix.DirectionForward, nil, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, e := range page.Chunk {
		if body, ok := e.Content.Raw["body"].(string); ok && e.Sender == speaker {
			texts = append(texts, body)
		}
	}
	return texts
}
