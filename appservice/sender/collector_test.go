package sender_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &stub{status: http.StatusBadGateway}
		w, s, _ := startStub(t, as)
		for range 3 {
			w.say(room, "@irc_x:"+server)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		gatherer := prometheus.NewPedanticRegistry()
		gatherer.MustRegister(s.Collector())
		families, err := gatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, family := range families {
			for _, m := range family.Metric {
				if len(m.Label) != 1 || m.Label[0].GetName() != "appservice" || m.Label[0].GetValue() != "irc" {
					t.Errorf("labels %v", m.Label)
				}
				values[family.GetName()] = m.Gauge.GetValue() + m.Counter.GetValue()
			}
		}
		if len(values) != 10 || values["trestle_appservice_backlog_events"] != 3 || values["trestle_appservice_oldest_event_age_seconds"] != 600 ||
			values["trestle_appservice_retry_attempts"] < 10 || values["trestle_appservice_failures_total"] != values["trestle_appservice_retry_attempts"] ||
			values["trestle_appservice_next_attempt_seconds"] <= 0 || values["trestle_appservice_events_total"] != 0 {
			t.Errorf("%v", values)
		}
	})
}
