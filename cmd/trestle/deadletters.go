package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func (c commands) appserviceSkip() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "skip ID [TRANSACTION] [--all] --reason …",
		Short: "Put the transaction that a service cannot take to the dead letters, and go on with the next",
		Args:  cobra.RangeArgs(1, 2),
	}
	reason := needsReason(cmd, "is kept with it")
	all := cmd.Flags().Bool("all", false, "everything that waits: transactions become dead letters, events behind them are not sent")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		if *all {
			return c.skipAll(ctx, s, args, *reason)
		}
		// With a name it is that one or none: another may be the first by now.
		id := ""
		if len(args) > 1 {
			id = args[1]
		} else {
			head, err := s.waiting(ctx, args[0])
			if err != nil {
				return err
			}
			id = head.ID
		}
		body := map[string]string{"transaction_id": id, "reason": *reason}
		if err := s.Do(ctx, "POST", appservicePath(args[0], "/skip"), body, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "Transaction %s is a dead letter now. trestle appservice letters %s lists them.\n", id, args[0])
		return nil
	})
}

// skipAll skips all that waits for a service.
func (c commands) skipAll(ctx context.Context, s session, args []string, reason string) error {
	if len(args) > 1 {
		return errors.New("either a transaction or --all")
	}
	var skipped struct {
		Letters int  `json:"dead_letters"`
		Events  int  `json:"dead_letter_events"`
		Passed  int  `json:"passed_events"`
		AtMost  bool `json:"passed_at_most"`
	}
	if err := s.Do(ctx, "POST", appservicePath(args[0], "/skip_all"), map[string]string{"reason": reason}, &skipped); err != nil {
		return err
	}
	most := ""
	if skipped.AtMost {
		most = "At most "
	}
	_, err := fmt.Fprintf(c.std.out, "%d %s of %d %s: dead letters now, which trestle appservice letters %s lists. %s%d %s more: not sent any more.\n",
		skipped.Letters, plural(skipped.Letters, "transaction"), skipped.Events, plural(skipped.Events, "event"), args[0],
		most, skipped.Passed, plural(skipped.Passed, "event"))
	return err
}

// needsReason adds the reason without which nothing is taken away.
func needsReason(cmd *cobra.Command, what string) *string {
	reason := cmd.Flags().String("reason", "", what+"; needed")
	if err := cmd.MarkFlagRequired("reason"); err != nil {
		panic(err)
	}
	return reason
}

// A waitingTransaction is the one at the head of a service's queue.
type waitingTransaction struct {
	ID   string `json:"transaction_id"`
	Body string `json:"body"`
}

func (s session) waiting(ctx context.Context, id string) (w waitingTransaction, err error) {
	err = s.Do(ctx, "GET", appservicePath(id, "/transaction"), nil, &w)
	return w, err
}

// A deadLetter is a transaction that was skipped.
type deadLetter struct {
	Number      int64  `json:"number"`
	Transaction string `json:"transaction_id"`
	Events      int    `json:"events"`
	Reason      string `json:"reason"`
	By          string `json:"skipped_by"`
	SkippedAt   int64  `json:"skipped_ts"`
	Body        string `json:"body"` // of one that is asked for by its number
}

func (c commands) appserviceLetters() *cobra.Command {
	cmd := &cobra.Command{Use: "letters ID", Short: "List the transactions that were skipped", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		var rows [][]string
		for from, first := int64(0), true; first || from > 0; first = false {
			var page struct {
				Letters []deadLetter `json:"dead_letters"`
				Next    int64        `json:"next_token"`
			}
			query := url.Values{"limit": {"500"}, "from": {strconv.FormatInt(from, 10)}}
			if err := s.Do(ctx, "GET", appservicePath(args[0], "/dead_letters?"+query.Encode()), nil, &page); err != nil {
				return err
			}
			for _, l := range page.Letters {
				rows = append(rows, []string{
					strconv.FormatInt(l.Number, 10), l.Transaction, fmt.Sprintf("%d %s", l.Events, plural(l.Events, "event")), day(l.SkippedAt), l.By, l.Reason,
				})
			}
			from = page.Next
		}
		return c.table(rows)
	})
}

func letterPath(number, rest string) string {
	return adminOwn + "/dead_letters/" + url.PathEscape(number) + rest
}

func (c commands) appserviceLetter() *cobra.Command {
	cmd := &cobra.Command{Use: "letter NUMBER", Short: "Print the text of a dead letter", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		var l deadLetter
		if err := s.Do(ctx, "GET", letterPath(args[0], ""), nil, &l); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.std.out, printable(l.Body))
		return err
	})
}

func (c commands) appserviceReplay() *cobra.Command {
	cmd := &cobra.Command{Use: "replay NUMBER", Short: "Send a dead letter again, as it was; it is gone when it is accepted", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.running(); err != nil {
			return err
		}
		if err := s.Do(ctx, "POST", letterPath(args[0], "/replay"), map[string]any{}, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.std.out, "The service has taken it.")
		return nil
	})
}

func (c commands) appserviceDiscard() *cobra.Command {
	cmd := &cobra.Command{Use: "discard NUMBER --reason …", Short: "Delete a dead letter for good", Args: cobra.ExactArgs(1)}
	reason := needsReason(cmd, "is kept in the log")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.Do(ctx, "DELETE", letterPath(args[0], "?"+url.Values{"reason": {*reason}}.Encode()), nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.std.out, "The dead letter is deleted.")
		return nil
	})
}
