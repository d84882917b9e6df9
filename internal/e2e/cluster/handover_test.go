package cluster_test

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
)

// A leader that is told to go hands over. Who talks through another process
// meanwhile does not get a single error.
func TestNobodyNoticesAHandover(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	leader, other := w.processes[0], w.processes[1]
	alice := w.person("alice")
	room := w.do("POST", v3+"/createRoom", alice, map[string]any{})["room_id"].(string)
	said, done := make(chan struct{}), make(chan struct{})
	var talking sync.WaitGroup
	for who := range 6 {
		talking.Go(func() {
			for n := 0; ; n++ {
				path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%d-%d", v3, url.PathEscape(room), who, n)
				content := map[string]string{"msgtype": "m.text", "body": "x"}
				if _, err := w.once(t.Context(), other, alice, "PUT", path, content, new(map[string]any)); err != nil {
					t.Error(err)
				}
				select {
				case said <- struct{}{}:
				case <-done:
					return
				}
			}
		})
	}
	hear := func(messages int) {
		for range messages {
			<-said
		}
	}
	hear(50)
	gone := make(chan struct{})
	go func() {
		leader.Stop()
		close(gone)
	}()
	for talks := true; talks; {
		select {
		case <-said:
		case <-gone:
			talks = false
		}
	}
	hear(50)
	close(done)
	talking.Wait()
	if p := w.leader(nil); p != other {
		t.Errorf("process %d leads", p.number)
	}
}
