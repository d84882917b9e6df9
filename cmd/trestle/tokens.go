package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"trestle/internal/config"
)

func (c commands) token() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Manage the tokens that let people register"}
	cmd.AddCommand(c.tokenCreate(), c.tokenList(), c.tokenDelete())
	return cmd
}

// A registrationToken is a token as the operator's API has it.
type registrationToken struct {
	Token       string `json:"token"`
	UsesAllowed *int64 `json:"uses_allowed"`
	Completed   int64  `json:"completed"`
	ExpiresAt   int64  `json:"expiry_time"`
}

func (c commands) tokenCreate() *cobra.Command {
	cmd := &cobra.Command{Use: "create [TOKEN]", Short: "Make a token, at random unless one is given", Args: cobra.MaximumNArgs(1)}
	uses := cmd.Flags().Int64("uses", 0, "so many may register with it; 0: any number")
	expires := cmd.Flags().String("expires", "", "after so long it is of no use: 12h, 7d")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		body := map[string]any{}
		if len(args) > 0 {
			body["token"] = args[0]
		}
		if *uses > 0 {
			body["uses_allowed"] = *uses
		}
		if *expires != "" {
			d, err := config.ParseDuration(*expires)
			if err != nil {
				return err
			}
			body["expiry_time"] = time.Now().Add(d.Std()).UnixMilli()
		}
		var made registrationToken
		if err := s.Do(ctx, "POST", adminV1+"/registration_tokens/new", body, &made); err != nil {
			return err
		}
		fmt.Fprintln(c.std.out, made.Token)
		return nil
	})
}

func (c commands) tokenList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the tokens, how often they were used, and until when they are good", Args: cobra.NoArgs}
	return c.operate(cmd, func(ctx context.Context, s session, _ []string) error {
		var list struct {
			Tokens []registrationToken `json:"registration_tokens"`
		}
		if err := s.Do(ctx, "GET", adminV1+"/registration_tokens", nil, &list); err != nil {
			return err
		}
		var rows [][]string
		for _, t := range list.Tokens {
			uses := strconv.FormatInt(t.Completed, 10) + " used"
			if t.UsesAllowed != nil {
				uses = fmt.Sprintf("%d of %d used", t.Completed, *t.UsesAllowed)
			}
			until := "for ever"
			if t.ExpiresAt != 0 {
				until = "until " + day(t.ExpiresAt)
			}
			rows = append(rows, []string{t.Token, uses, until})
		}
		return c.table(rows)
	})
}

func (c commands) tokenDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete TOKEN", Short: "End a token", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.Do(ctx, "DELETE", adminV1+"/registration_tokens/"+url.PathEscape(args[0]), nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.std.out, "The token is of no use any more.")
		return nil
	})
}
