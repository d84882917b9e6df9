package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// A deed is something that an operator has done about application services.
type deed struct {
	At          int64  `json:"ts"`
	By          string `json:"by"`
	Service     string `json:"appservice"`
	Action      string `json:"action"`
	Transaction string `json:"transaction_id"`
	Letter      int64  `json:"dead_letter"`
	Reason      string `json:"reason"`
	Outcome     string `json:"outcome"`
	Error       string `json:"error"`
	Result      string `json:"result"`
}

// row is a deed as a table has it.
func (d deed) row() []string {
	service, about := d.Service, []string{}
	if service == "" {
		service = "all"
	}
	if d.Transaction != "" {
		about = append(about, d.Transaction)
	}
	if d.Letter > 0 {
		about = append(about, "dead letter "+strconv.FormatInt(d.Letter, 10))
	}
	if d.Reason != "" {
		about = append(about, d.Reason)
	}
	outcome := d.Outcome
	if detail := d.Error + d.Result; detail != "" {
		outcome += ": " + detail
	}
	return []string{day(d.At), d.By, service, d.Action, strings.Join(about, ", "), outcome}
}

const (
	// logPage is the longest part of the record that is asked for at once.
	logPage = 500
	// shownDeeds is how many are shown with a service.
	shownDeeds = 5
)

// deeds are the newest of a service or, without its name, of all.
func (s session) deeds(ctx context.Context, service string, count int) (list []deed, err error) {
	path := adminOwn + "/log"
	if service != "" {
		path = appservicePath(service, "/log")
	}
	from := int64(0)
	for {
		limit := min(logPage, count-len(list))
		var page struct {
			Log  []deed `json:"log"`
			Next int64  `json:"next_token"`
		}
		query := url.Values{"limit": {strconv.Itoa(limit)}, "from": {strconv.FormatInt(from, 10)}}
		if err := s.Do(ctx, "GET", path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		list, from = append(list, page.Log...), page.Next
		if from == 0 || len(list) >= count {
			return list, nil
		}
	}
}

// logTable prints deeds, or that there are none.
func (c commands) logTable(deeds []deed) error {
	if len(deeds) == 0 {
		_, err := fmt.Fprintln(c.std.out, "No operator has done anything yet.")
		return err
	}
	rows := [][]string{{"WHEN", "WHO", "SERVICE", "WHAT", "ABOUT", "OUTCOME"}}
	for _, d := range deeds {
		rows = append(rows, d.row())
	}
	return c.table(rows)
}

func (c commands) appserviceLog() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log [ID]",
		Short: "Tell what operators have done about a service, or about all, the newest first",
		Args:  cobra.MaximumNArgs(1),
	}
	count := cmd.Flags().Int("limit", 50, "how many lines at most")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if *count < 1 {
			return errors.New("--limit is a number from 1")
		}
		deeds, err := s.deeds(ctx, strings.Join(args, ""), *count)
		if err != nil {
			return err
		}
		return c.logTable(deeds)
	})
}
