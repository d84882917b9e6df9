package stateres_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/matrix/stateres"
	"trestle/internal/matrix/stateres/roomgen"
)

// testdata/synapse.txt holds what Synapse 1.163.2 makes of generated rooms: for
// each room a digest of its judgement of every event (auth) and of the states
// that it resolves (honest, distorted). If the generator changes, let Synapse
// do it again: -rooms writes down the rooms, one JSON object a line.
var roomsFile = flag.String("rooms", "", "write the generated rooms to this file")

// A synapseRoom is a room as others get it to judge.
type synapseRoom struct {
	Version   string                             `json:"version"`
	Seed      uint64                             `json:"seed"`
	RoomID    matrix.RoomID                      `json:"room_id"`
	Events    map[matrix.EventID]json.RawMessage `json:"events"`
	Tries     []synapseTry                       `json:"tries"`
	Honest    [][]entry                          `json:"honest"`
	Distorted [][]entry                          `json:"distorted"`
}

type synapseTry struct {
	Event json.RawMessage `json:"event"`
	State []entry         `json:"state"`
}

// An entry of a state: type, state key and event ID.
type entry [3]string

func TestLikeSynapse(t *testing.T) {
	const rooms, steps = 40, 60
	golden := readGolden(t)
	var out *json.Encoder
	if *roomsFile != "" {
		file, err := os.Create(*roomsFile)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		out = json.NewEncoder(file)
	}
	for _, id := range []string{"6", "9", "10", "11", "12"} {
		v, _ := roomversion.Lookup(id)
		for seed := range uint64(rooms) {
			room, err := roomgen.New(v, seed, steps, stateres.Resolve)
			if err != nil {
				t.Fatal(err)
			}
			distorted := room.Distorted()
			if out != nil {
				if err := out.Encode(exported(room, seed, distorted)); err != nil {
					t.Fatal(err)
				}
			}
			for kind, digest := range map[string]string{
				"auth":      digestTries(room),
				"honest":    digestState(resolve(t, room, room.Tips)),
				"distorted": digestState(resolve(t, room, distorted)),
			} {
				name := fmt.Sprintf("%s %d %s", id, seed, kind)
				if golden[name] != digest {
					t.Errorf("version, room, what: %s: %s is not what Synapse says, %q", name, digest, golden[name])
				}
			}
		}
	}
}

func readGolden(t *testing.T) map[string]string {
	t.Helper()
	file, err := os.Open("testdata/synapse.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	golden := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			golden[lines.Text()[:i]] = lines.Text()[i+1:]
		}
	}
	return golden
}

// digestTries: a line "event ID, true or false" for each event.
func digestTries(room *roomgen.Room) string {
	var lines []string
	for _, try := range room.Tries {
		lines = append(lines, fmt.Sprint(try.Event.ID, " ", try.Allowed, "\n"))
	}
	return digest(lines)
}

// digestState: the sorted lines "event ID" of a state.
func digestState(state stateres.StateMap) string {
	var lines []string
	for _, e := range state {
		lines = append(lines, string(e.ID)+"\n")
	}
	slices.Sort(lines)
	return digest(lines)
}

func digest(lines []string) string {
	return fmt.Sprintf("%.8x", sha256.Sum256([]byte(strings.Join(lines, ""))))
}

func exported(room *roomgen.Room, seed uint64, distorted []stateres.StateMap) synapseRoom {
	out := synapseRoom{
		Version: room.Version.ID, Seed: seed, RoomID: room.ID,
		Events: map[matrix.EventID]json.RawMessage{},
		Honest: entries(room.Tips...), Distorted: entries(distorted...),
	}
	for id, e := range room.Events {
		out.Events[id] = e.JSON()
	}
	for _, try := range room.Tries {
		out.Tries = append(out.Tries, synapseTry{try.Event.JSON(), entries(try.State)[0]})
	}
	return out
}

func entries(states ...stateres.StateMap) [][]entry {
	lists := [][]entry{}
	for _, state := range states {
		list := []entry{}
		for key, e := range state {
			list = append(list, entry{key.Type, key.Key, string(e.ID)})
		}
		lists = append(lists, list)
	}
	return lists
}
