package sender_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/appservice/sender"
)

// gathered is the metrics of the only service, by what follows the common prefix.
func gathered(t *testing.T, s *sender.Service) map[string]float64 {
	t.Helper()
	gatherer := prometheus.NewPedanticRegistry()
	gatherer.MustRegister(s.Collector())
	families, err := gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "trestle_appservice_"
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			if len(m.Label) != 1 || m.Label[0].GetName() != "appservice" || m.Label[0].GetValue() != "irc" {
				t.Errorf("labels %v", m.Label)
			}
			values[family.GetName()[len(prefix):]] = m.Gauge.GetValue() + m.Counter.GetValue()
		}
	}
	return values
}

func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusBadGateway}
		w, s, _ := startStub(t, as)
		for range 3 {
			w.say(room, "@irc_x:"+server)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		attempts := as.times()
		last := attempts[len(attempts)-1]
		v := gathered(t, s)
		if len(v) != 14 || v["backlog_events"] != 3 || v["oldest_event_age_seconds"] != 600 || v["retry_attempts"] < 10 || v["failures_total"] != v["retry_attempts"] ||
			v["next_attempt_seconds"] <= 0 || v["events_total"] != 0 || v["paused"] != 0 || v["dead_letters"] != 0 || v["last_success_timestamp_seconds"] != 0 ||
			v["last_error_timestamp_seconds"] != float64(last.UnixMilli())/1000 {
			t.Errorf("%v", v)
		}
		head, err := s.Frozen(t.Context(), "irc")
		if err == nil {
			err = s.Skip(t.Context(), "irc", head.ID, "", "me")
		}
		if err == nil {
			err = s.Pause(t.Context(), "irc", "")
		}
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v := gathered(t, s); v["paused"] != 1 || v["dead_letters"] != 1 || v["backlog_events"] != 3-float64(head.Events) || v["next_attempt_seconds"] != 0 {
			t.Errorf("%v", v)
		}
	})
}
