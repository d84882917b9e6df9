package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func (c commands) report() *cobra.Command {
	cmd := &cobra.Command{Use: "report", Short: "Read what users have reported: events, rooms and users"}
	cmd.AddCommand(c.reportList(), c.reportShow(), c.reportDelete())
	return cmd
}

// reportKinds are what a report can be about.
var reportKinds = []string{"event", "room", "user"}

// A report is one as the operator's API has it.
type report struct {
	ID         int64           `json:"id"`
	ReceivedAt int64           `json:"received_ts"`
	Reporter   string          `json:"user_id"`
	Reason     string          `json:"reason"`
	Room       string          `json:"room_id"`
	Event      string          `json:"event_id"`
	Sender     string          `json:"sender"`
	Target     string          `json:"target_user_id"`
	JSON       json.RawMessage `json:"event_json"`
}

// about is what was reported, in short.
func (r *report) about() string {
	switch {
	case r.Event != "":
		return r.Sender + " in " + r.Room
	case r.Room != "":
		return r.Room
	}
	return r.Target
}

func (c commands) reportList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the reports that wait, the newest of each kind first", Args: cobra.NoArgs}
	return c.operate(cmd, func(ctx context.Context, s session, _ []string) error {
		var rows [][]string
		for _, kind := range reportKinds {
			list, err := s.reports(ctx, kind)
			if err != nil {
				return err
			}
			for _, r := range list {
				rows = append(rows, []string{kind, strconv.FormatInt(r.ID, 10), day(r.ReceivedAt), r.Reporter, r.about(), strconv.Quote(r.Reason)})
			}
		}
		return c.table(rows)
	})
}

// reports is all reports of a kind.
func (s session) reports(ctx context.Context, kind string) ([]report, error) {
	var all []report
	for next, first := int64(0), true; first || next > 0; first = false {
		var page map[string]json.RawMessage
		query := url.Values{"limit": {"500"}, "from": {strconv.FormatInt(next, 10)}}
		if err := s.Do(ctx, "GET", adminV1+"/"+kind+"_reports?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		var list []report
		if err := json.Unmarshal(page[kind+"_reports"], &list); err != nil {
			return nil, err
		}
		all = append(all, list...)
		next = 0
		if raw := page["next_token"]; raw != nil {
			if err := json.Unmarshal(raw, &next); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func reportPath(args []string) string {
	return adminV1 + "/" + url.PathEscape(args[0]+"_reports") + "/" + url.PathEscape(args[1])
}

func (c commands) reportShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show event|room|user NUMBER", Short: "Show a report, with the event as it is now", Args: cobra.ExactArgs(2)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		var r report
		if err := s.Do(ctx, "GET", reportPath(args), nil, &r); err != nil {
			return err
		}
		rows := [][]string{{"reported", day(r.ReceivedAt)}, {"by", r.Reporter}, {"about", r.about()}, {"reason", strconv.Quote(r.Reason)}}
		if len(r.JSON) > 0 {
			rows = append(rows, []string{"event", string(r.JSON)})
		}
		return c.table(rows)
	})
}

func (c commands) reportDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete event|room|user NUMBER", Short: "Delete a report that is dealt with", Args: cobra.ExactArgs(2)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.Do(ctx, "DELETE", reportPath(args), nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.std.out, "The report is deleted.")
		return nil
	})
}
