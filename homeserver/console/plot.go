package console

import (
	"fmt"
	"strings"
	"time"

	"trestle/homeserver/console/record"
)

// A plot is a figure over the last day, as a picture needs it. Its paths are in
// the units of its width and height.
type plot struct {
	Name          string // of the figure
	Kind          string // a class of the style
	Width, Height int
	Area, Line    string // paths
	Top           string // the value at the upper edge
	Said          string // the same for those who cannot see it
	Hours         []tick
}

// A tick is a time on the axis.
type tick struct {
	X    int
	Text string
}

// A figure is what is drawn of samples.
type figure struct {
	name, kind, unit string
	of               func(record.Sample) int64
	mean             bool // of the minutes in a bucket; otherwise the largest
}

var (
	backlogFigure = figure{"Waiting", "backlog", "events", func(s record.Sample) int64 { return s.Backlog }, false}
	eventsFigure  = figure{"Delivered", "events", "events a minute", func(s record.Sample) int64 { return s.Events }, true}
)

const bucket = 5 * time.Minute

// fold sums samples up by bucket; a bucket without any is -1.
func (f figure) fold(samples []record.Sample, begin time.Time) []int64 {
	values, minutes := make([]int64, int(record.Span/bucket)), make([]int64, int(record.Span/bucket))
	for _, s := range samples {
		i := int(s.At.Sub(begin) / bucket)
		if s.At.Before(begin) || i >= len(values) {
			continue
		}
		value := max(0, f.of(s))
		if minutes[i]++; f.mean {
			values[i] += value
		} else {
			values[i] = max(values[i], value)
		}
	}
	for i, n := range minutes {
		switch {
		case n == 0:
			values[i] = -1
		case f.mean:
			values[i] = (values[i] + n - 1) / n // a little is not nothing
		}
	}
	return values
}

// nice is the least of 1, 2, 5, 10, 20, … that is not below a value.
func nice(value int64) int64 {
	for unit := int64(1); unit < 1e18; unit *= 10 {
		for _, n := range []int64{unit, 2 * unit, 5 * unit} {
			if n >= value {
				return n
			}
		}
	}
	return value
}

// draw makes the picture of a figure, so many units large.
func (f figure) draw(samples []record.Sample, now time.Time, width, height int) plot {
	begin := now.Add(bucket).Truncate(bucket).Add(-record.Span)
	values := f.fold(samples, begin)
	var most, last int64 = 0, -1
	for _, v := range values {
		most = max(most, v)
		if v >= 0 {
			last = v
		}
	}
	top := nice(most)
	p := plot{Name: f.name, Kind: f.kind, Width: width, Height: height, Top: count(top)}
	p.Said = "nothing is known yet"
	if last >= 0 {
		p.Said = fmt.Sprintf("at most %s %s, lately %s", count(most), f.unit, count(last))
	}
	p.Area, p.Line = paths(values, top, float64(width), float64(height))
	for at := begin.Truncate(3 * time.Hour).Add(3 * time.Hour); at.Before(begin.Add(record.Span)); at = at.Add(3 * time.Hour) {
		x := int(float64(width) * float64(at.Sub(begin)) / float64(record.Span))
		if x > 12 && x < width-12 {
			p.Hours = append(p.Hours, tick{x, at.UTC().Format("15:04")})
		}
	}
	return p
}

// paths are the outline of values and what is below it, in steps; where nothing
// is known there is nothing.
func paths(values []int64, top int64, width, height float64) (area, line string) {
	var filled, outline strings.Builder
	step := width / float64(len(values))
	for i := 0; i < len(values); {
		if values[i] < 0 {
			i++
			continue
		}
		first := i
		fmt.Fprintf(&filled, "M%.1f %.1f", step*float64(first), height)
		for ; i < len(values) && values[i] >= 0; i++ {
			y := height - height*float64(values[i])/float64(top)
			verb := "L"
			if i == first {
				verb = "M"
			}
			fmt.Fprintf(&outline, "%s%.1f %.1fH%.1f", verb, step*float64(i), y, step*float64(i+1))
			fmt.Fprintf(&filled, "L%.1f %.1fH%.1f", step*float64(i), y, step*float64(i+1))
		}
		fmt.Fprintf(&filled, "V%.1fZ", height)
	}
	return filled.String(), outline.String()
}

// An hour is a row of the table that says what the plots show.
type hour struct {
	Begin                     time.Time
	Backlog, Events, Failures int64
	Age                       time.Duration
	Minutes                   int // of which something is known
}

// hours sums samples up, the latest first.
func hours(samples []record.Sample) []hour {
	var list []hour
	for _, s := range samples {
		begin := s.At.UTC().Truncate(time.Hour)
		if len(list) == 0 || !list[0].Begin.Equal(begin) {
			list = append([]hour{{Begin: begin}}, list...)
		}
		h := &list[0]
		h.Backlog, h.Age = max(h.Backlog, s.Backlog), max(h.Age, s.Age)
		h.Events, h.Failures, h.Minutes = h.Events+s.Events, h.Failures+s.Failures, h.Minutes+1
	}
	return list
}
