package console

import (
	"strings"
	"testing"
	"time"

	"trestle/homeserver/console/record"
)

func TestPlot(t *testing.T) {
	now := time.Date(2026, 5, 2, 12, 3, 20, 0, time.UTC)
	at := func(hour, minute int) time.Time { return time.Date(2026, 5, 2, hour, minute, 0, 0, time.UTC) }
	samples := []record.Sample{
		{At: at(11, 0), Backlog: 40, Events: 1}, {At: at(11, 1), Backlog: 90}, {At: at(11, 5), Backlog: 10, Events: 30},
		{At: at(12, 0), Events: 500}, {At: at(12, 3), Backlog: 7, Events: -3},
		{At: at(12, 9), Backlog: 1 << 40}, {At: at(12, 0).Add(-48 * time.Hour), Backlog: 1 << 40}, // of a clock that was wrong
	}
	p := backlogFigure.draw(samples, now, 288, 100)
	if p.Top != "100" || p.Said != "at most 90 events, lately 7" {
		t.Errorf("%q up to %s", p.Said, p.Top)
	}
	if want := "M275.0 10.0H276.0L276.0 90.0H277.0M287.0 93.0H288.0"; p.Line != want {
		t.Errorf("the line is %s, want %s", p.Line, want)
	}
	if want := "M275.0 100.0L275.0 10.0H276.0L276.0 90.0H277.0V100.0ZM287.0 100.0L287.0 93.0H288.0V100.0Z"; p.Area != want {
		t.Errorf("the area is %s, want %s", p.Area, want)
	}
	if len(p.Hours) != 7 || p.Hours[0].Text != "15:00" || p.Hours[6].Text != "09:00" || p.Hours[6].X != 251 {
		t.Errorf("the hours are %+v", p.Hours)
	}
	p = eventsFigure.draw(samples, now, 288, 100)
	if p.Said != "at most 250 events a minute, lately 250" || p.Top != "500" {
		t.Errorf("%q up to %s", p.Said, p.Top)
	}
	if empty := eventsFigure.draw(nil, now, 10, 10); empty.Line != "" || empty.Said != "nothing is known yet" {
		t.Errorf("of nothing there is %+v", empty)
	}
	table := hours(samples[:5])
	if len(table) != 2 || table[0].Begin != at(12, 0) || table[1].Backlog != 90 || table[1].Events != 31 || table[0].Minutes != 2 {
		t.Errorf("the table is %+v", table)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "now", 0: "under 1 s", 59 * time.Second: "59 s", 61 * time.Minute: "1 h 1 min", 50 * time.Hour: "2 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	if rate(0.01) != "0" || rate(1.26) != "1.3" || rate(5321.6) != "5,322" {
		t.Error(rate(0.01), rate(1.26), rate(5321.6))
	}
	if got := clip(strings.Repeat("é", 10), 5); got != "éé…" {
		t.Errorf("clipped to %q", got)
	}
	for next, want := range map[string]string{
		"": Root, "//evil.example/_trestle/console": Root, "https://evil.example": Root, "javascript:alert(1)": Root,
		Root + "/live": Root, servicePath + "?id=a": servicePath + "?id=a", "/_trestle/console/../..": Root,
	} {
		if got := ownPage(next); got != want {
			t.Errorf("%q leads to %q", next, got)
		}
	}
}
