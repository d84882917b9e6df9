package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/telemetry"
)

// A Homeserver is what the commands want done.
type Homeserver interface {
	// Run serves until ctx ends, then stops gracefully. It calls ready once,
	// when all listeners are open and requests are answered. Nobody says whether
	// no person has an account yet.
	Run(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func(nobody func(context.Context) (bool, error))) error
	// CreateUser makes an account in the database, beside a running server.
	CreateUser(ctx context.Context, cfg *config.Config, log *slog.Logger, user NewUser) (matrix.UserID, error)
	// Operator speaks to the operator's API, of the running server or without one.
	Operator(ctx context.Context, cfg *config.Config, log *slog.Logger) (Operator, error)
}

// An Operator makes requests of the operator's API.
type Operator interface {
	// Do makes a request with a body, or nil, and decodes the answer into
	// something, or nil.
	Do(ctx context.Context, method, path string, body, into any) error
	// Alone reports whether no server runs.
	Alone() bool
	Close()
}

// A NewUser is an account that an operator makes.
type NewUser struct {
	Localpart string
	Password  config.Secret
	Admin     bool
}

// commands is what every command works with.
type commands struct {
	program    string // how this binary was called
	environ    []string
	std        streams
	homeserver Homeserver
}

func newRoot(c commands) *cobra.Command {
	root := &cobra.Command{
		Use:           "trestle",
		Short:         "A Matrix homeserver built for bridges",
		Version:       telemetry.Build().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(c.serve(), c.initCommand(), c.checkConfig(), c.user(), c.room(), c.token(), c.report(), c.appservice(), c.bridge(), c.bench(), c.version())
	return root
}

func (c commands) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say what this binary was built from",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(c.std.out, telemetry.Build())
			return err
		},
	}
}

// addConfigFlags gives a command the flags of the configuration.
func (c commands) addConfigFlags(cmd *cobra.Command) config.Source {
	set := flag.NewFlagSet(cmd.Name(), flag.ContinueOnError)
	flags := config.AddFlags(set)
	cmd.Flags().SortFlags = false
	cmd.Flags().AddGoFlagSet(set)
	return config.Source{Flags: flags, Environ: c.environ}
}

// load reads the configuration. Its problems go to standard error, one a
// line, as compilers write them.
func (c commands) load(src config.Source) (*config.Config, error) {
	cfg, err := config.Load(src)
	var problems config.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(c.std.err, problems)
		return nil, fmt.Errorf("the configuration has %d %s", len(problems), plural(len(problems), "problem"))
	}
	return cfg, err
}

// again is a command line for the same binary and the same data folder.
func (c commands) again(command string, cfg *config.Config) string {
	line := c.program + " " + command
	if standard, err := filepath.Abs(config.DefaultData); err != nil || cfg.Data != standard {
		line += " --data " + cfg.Data
	}
	return line
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// logger writes to standard error as the configuration wants it, and says
// what the configuration was warned of.
func (c commands) logger(ctx context.Context, cfg *config.Config) (*slog.Logger, error) {
	log, err := telemetry.NewLogger(c.std.err, telemetry.LogOptions{Level: cfg.Logging.Level, Format: cfg.Logging.Format})
	if err != nil {
		return nil, err
	}
	for _, warning := range cfg.Warnings {
		log.WarnContext(ctx, "configuration: "+warning)
	}
	return log, nil
}

// fileExists says whether there is a configuration file to read.
func fileExists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
