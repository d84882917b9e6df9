package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"trestle/internal/config"
	"trestle/internal/matrix"
)

const (
	adminV1 = "/_synapse/admin/v1"
	adminV2 = "/_synapse/admin/v2"
)

// beside is what the help says about commands that go through the server.
const beside = "\n\nThe command speaks to the running server, or does without one."

// loadServer reads the configuration of a server that is there.
func (c commands) loadServer(src config.Source) (*config.Config, error) {
	cfg, err := c.load(src)
	if err == nil && cfg.File == "" {
		err = fmt.Errorf("there is no server in %s; start one with trestle serve, or name its folder with --data", cfg.Data)
	}
	return cfg, err
}

// A session is one command's talk with the server.
type session struct {
	Operator
	cfg *config.Config
}

// operate makes a command of something that is done through the server.
func (c commands) operate(cmd *cobra.Command, run func(ctx context.Context, s session, args []string) error) *cobra.Command {
	src := c.addConfigFlags(cmd)
	cmd.Long = cmd.Short + "." + beside
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		cfg, err := c.loadServer(src)
		if err != nil {
			return err
		}
		log, err := c.logger(ctx, cfg)
		if err != nil {
			return err
		}
		operator, err := c.homeserver.Operator(ctx, cfg, log)
		if err != nil {
			return err
		}
		defer operator.Close()
		err = run(ctx, session{operator, cfg}, args)
		var refused *matrix.Error
		if errors.As(err, &refused) {
			return errors.New(refused.Message)
		}
		return err
	}
	return cmd
}

// user is the path of a user whom the operator names: alice, or @alice:our.server.
func (s session) user(name string) (matrix.UserID, string, error) {
	localpart, err := ownLocalpart(name, s.cfg.ServerName)
	if err != nil {
		return "", "", err
	}
	id := matrix.NewUserID(localpart, s.cfg.ServerName)
	return id, url.PathEscape(string(id)), nil
}

// table writes rows whose columns stand below one another.
func (c commands) table(rows [][]string) error {
	w := tabwriter.NewWriter(c.std.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printable takes out what would change the terminal: names come from users.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, text)
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
