package console

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

// words are the functions of the templates.
var words = template.FuncMap{
	"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04:05 UTC") },
	"span":  span,
	"count": count,
	"rate":  rate,
	"plural": func(n any, thing string) string {
		if fmt.Sprint(n) != "1" {
			thing += "s"
		}
		return count(n) + " " + thing
	},
}

// span is a duration in words, to two places at most.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "now"
	case d < time.Second:
		return "under 1 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// count is a number with its thousands apart.
func count(n any) string {
	text := fmt.Sprint(n)
	digits := strings.TrimPrefix(text, "-")
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return text[:len(text)-len(digits)] + b.String()
}

// rate is a number of events a second.
func rate(r float64) string {
	if r < 0.05 {
		return "0"
	}
	if r < 10 {
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return count(int(math.Round(r)))
}

// clip cuts a text to so many bytes at most, between characters.
func clip(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes], "") + "…"
}
