package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"trestle/registration"
)

// adminOwn is the operator's API that only Trestle has.
const adminOwn = "/_trestle/admin/v1"

func (c commands) appservice() *cobra.Command {
	cmd := &cobra.Command{Use: "appservice", Short: "Manage application services and their registrations"}
	cmd.AddCommand(
		c.appserviceList(), c.appserviceShow(), c.appserviceCheck(), c.appserviceGenerate(), c.appserviceAdd(), c.appserviceRemove(), c.appserviceRotate(),
		c.appserviceReload(), c.appservicePause(), c.appserviceSkip(), c.appserviceLetters(), c.appserviceLetter(), c.appserviceReplay(), c.appserviceDiscard(), c.appserviceForget(), c.appserviceLog(),
		c.appservicePost("resume ID", "Go on with the delivery to a service that was paused", "/resume", "%s is delivered to again."),
		c.appservicePost("retry ID", "Try at once what waits for the next attempt", "/retry", "%s is tried at once."),
		c.appservicePing(), c.appserviceDev(),
	)
	return cmd
}

// A deliveryStatus is an application service as the operator's API has it.
type deliveryStatus struct {
	ID           string  `json:"id"`
	URL          string  `json:"url"`
	Sender       string  `json:"sender"`
	Behind       int64   `json:"behind"`
	Backlog      int     `json:"backlog"`
	AtMost       bool    `json:"backlog_at_most"`
	Oldest       int64   `json:"oldest_ts"`
	Transactions uint64  `json:"delivered_transactions"`
	Events       uint64  `json:"delivered_events"`
	Failures     uint64  `json:"failed_attempts"`
	Rate         float64 `json:"events_per_second"`
	LastSuccess  int64   `json:"last_success_ts"`
	Transaction  string  `json:"transaction_id"`
	Attempts     int     `json:"attempts"`
	NextAttempt  int64   `json:"next_attempt_ts"`
	LastError    string  `json:"last_error"`
	LastErrorAt  int64   `json:"last_error_ts"`
	Paused       bool    `json:"paused"`
	PausedReason string  `json:"paused_reason"`
	PausedAt     int64   `json:"paused_ts"`
	DeadLetters  int     `json:"dead_letters"`
}

// state is how the delivery stands, in a few words.
func (d deliveryStatus) state() string {
	switch {
	case d.URL == "":
		return "silent"
	case d.Paused:
		return "paused"
	case d.Attempts > 0:
		return fmt.Sprintf("failing, %d %s", d.Attempts, plural(d.Attempts, "attempt"))
	case d.Backlog > 0 || d.Behind > 0:
		return "delivering"
	}
	return "fine"
}

// waiting is how many events wait, as far as that is known.
func (d deliveryStatus) waiting() string {
	if d.AtMost {
		return fmt.Sprintf("at most %d", d.Backlog)
	}
	return strconv.Itoa(d.Backlog)
}

func appservicePath(id, rest string) string {
	return adminOwn + "/appservices/" + url.PathEscape(id) + rest
}

// running refuses what only a server that runs can do.
func (s session) running() error {
	if s.Alone() {
		return errors.New("the server does not run; this is about what it does while it runs")
	}
	return nil
}

func (c commands) appserviceList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List application services and how the delivery to them stands", Args: cobra.NoArgs}
	return c.operate(cmd, func(ctx context.Context, s session, _ []string) error {
		if s.Alone() {
			return c.listFiles(s)
		}
		var list struct {
			Services []deliveryStatus `json:"appservices"`
			Gone     []keptPlace      `json:"gone"`
		}
		if err := s.Do(ctx, "GET", adminOwn+"/appservices", nil, &list); err != nil {
			return err
		}
		rows := [][]string{{"ID", "STATE", "BACKLOG", "OLDEST", "DEAD LETTERS", "URL"}}
		for _, d := range list.Services {
			oldest := ""
			if d.Oldest > 0 {
				oldest = day(d.Oldest)
			}
			rows = append(rows, []string{d.ID, d.state(), d.waiting(), oldest, strconv.Itoa(d.DeadLetters), d.URL})
		}
		for _, p := range list.Gone {
			rows = append(rows, p.row())
		}
		return c.table(rows)
	})
}

// A keptPlace is what is kept of a service that is not registered any more.
type keptPlace struct {
	ID          string `json:"id"`
	Frozen      int    `json:"frozen_transactions"`
	Events      int    `json:"frozen_events"`
	Oldest      int64  `json:"oldest_ts"`
	DeadLetters int    `json:"dead_letters"`
}

// row is a place as the list has it: of the backlog what is frozen is known.
func (p keptPlace) row() []string {
	oldest := ""
	if p.Oldest > 0 {
		oldest = day(p.Oldest)
	}
	return []string{p.ID, "gone", fmt.Sprintf("at least %d", p.Events), oldest, strconv.Itoa(p.DeadLetters), ""}
}

func (c commands) appserviceForget() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forget ID --reason …",
		Short: "Delete the place in the queue of a service that is not registered, and its dead letters",
		Args:  cobra.ExactArgs(1),
	}
	reason := needsReason(cmd, "is kept in the log")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		var p keptPlace
		if err := s.Do(ctx, "POST", appservicePath(args[0], "/forget"), map[string]string{"reason": *reason}, &p); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.std.out, "%s is forgotten, with %d %s of %d %s and %d dead %s. If it is registered again, it hears what happens from then on.\n",
			args[0], p.Frozen, plural(p.Frozen, "transaction"), p.Events, plural(p.Events, "event"), p.DeadLetters, plural(p.DeadLetters, "letter"))
		return err
	})
}

// listFiles is what can be told while no server runs.
func (c commands) listFiles(s session) error {
	rows := [][]string{{"ID", "STATE", "FILE"}}
	for _, folder := range s.cfg.AppServices {
		regs, err := registration.LoadDir(folder)
		if err != nil {
			return err
		}
		for _, r := range regs {
			rows = append(rows, []string{r.ID, "the server does not run", r.File})
		}
	}
	return c.table(rows)
}

func (c commands) appserviceShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "Show how the delivery to a service stands", Args: cobra.ExactArgs(1)}
	body := cmd.Flags().Bool("transaction", false, "print the text of the transaction that waits for an answer instead")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		if *body {
			head, err := s.waiting(ctx, args[0])
			if err == nil {
				_, err = fmt.Fprintln(c.std.out, printable(head.Body))
			}
			return err
		}
		var d deliveryStatus
		if err := s.Do(ctx, "GET", appservicePath(args[0], ""), nil, &d); err != nil {
			return err
		}
		deeds, err := s.deeds(ctx, args[0], shownDeeds)
		if err != nil {
			return err
		}
		if err := c.table(d.rows()); err != nil {
			return err
		}
		fmt.Fprintln(c.std.out)
		return c.logTable(deeds)
	})
}

// rows is all that is known of the delivery.
func (d deliveryStatus) rows() [][]string {
	rows := [][]string{
		{"id", d.ID}, {"url", d.URL}, {"sender", d.Sender}, {"state", d.state()},
		{"backlog", d.waiting() + " " + plural(d.Backlog, "event")},
		{"delivered", fmt.Sprintf("%d events in %d transactions, %.1f a second", d.Events, d.Transactions, d.Rate)},
		{"failures", strconv.FormatUint(d.Failures, 10)}, {"last success", day(d.LastSuccess)}, {"dead letters", strconv.Itoa(d.DeadLetters)},
	}
	if d.Oldest > 0 {
		rows = append(rows, []string{"oldest event", day(d.Oldest)})
	}
	if d.Paused {
		rows = append(rows, []string{"paused", day(d.PausedAt) + " " + d.PausedReason})
	}
	if d.Transaction != "" {
		rows = append(rows, []string{"transaction", d.Transaction})
	}
	if d.NextAttempt > 0 {
		rows = append(rows, []string{"next attempt", day(d.NextAttempt)})
	}
	if d.LastError != "" {
		rows = append(rows, []string{"last error", day(d.LastErrorAt) + " " + d.LastError})
	}
	return rows
}

// appservicePost makes a command of a request without a body.
func (c commands) appservicePost(use, short, path, done string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		if err := s.Do(ctx, "POST", appservicePath(args[0], path), map[string]any{}, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.std.out, done+"\n", args[0])
		return err
	})
}

func (c commands) appservicePause() *cobra.Command {
	cmd := &cobra.Command{Use: "pause ID", Short: "Stop the delivery to a service, also over restarts; what comes waits", Args: cobra.ExactArgs(1)}
	reason := cmd.Flags().String("reason", "", "is shown with the status")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		if err := s.Do(ctx, "POST", appservicePath(args[0], "/pause"), map[string]string{"reason": *reason}, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s is paused. trestle appservice resume goes on.\n", args[0])
		return nil
	})
}

func (c commands) appservicePing() *cobra.Command {
	cmd := &cobra.Command{Use: "ping ID", Short: "Ask a service whether it is there and knows our token", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		var pong struct {
			Duration int64 `json:"duration_ms"`
		}
		if err := s.Do(ctx, "POST", appservicePath(args[0], "/ping"), map[string]any{}, &pong); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s has answered within %d ms.\n", args[0], pong.Duration)
		return nil
	})
}
