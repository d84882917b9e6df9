package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"trestle/internal/bench"
)

func (c commands) bench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this binary from outside, with a server of its own",
		Long: "Start this binary as a server on a free port with a data folder of its own, drive it\n" +
			"over HTTP, and print what was measured. Nothing of it stays.",
		Args: cobra.NoArgs,
	}
	var o bench.Options
	cmd.Flags().StringVar(&o.Database, "bench-database", "", "an empty PostgreSQL database, as a URL; else SQLite")
	cmd.Flags().DurationVar(&o.Duration, "duration", 10*time.Second, "how long each rate is measured")
	cmd.Flags().IntVar(&o.Senders, "senders", 64, "how many people talk at once, three at least")
	cmd.Flags().IntVar(&o.Services, "services", 100, "how many application services a crowd is")
	cmd.Flags().IntVar(&o.Rooms, "rooms", 2000, "how many rooms a large account is in")
	cmd.Flags().IntVar(&o.Idle, "idle", 10_000, "how many clients wait while memory is measured")
	cmd.Flags().IntVar(&o.Members, "members", 5000, "how many people are in a large room")
	cmd.Flags().IntVar(&o.Events, "events", 1_000_000, "how many events wait for a service in the step backlog")
	cmd.Flags().IntVar(&o.Puppets, "puppets", 1000, "how many people of Matrix are in an IRC channel, if inspircd is installed")
	cmd.Flags().IntVar(&o.Quits, "quits", 10_000, "how many people of IRC a netsplit takes")
	cmd.Flags().StringSliceVar(&o.Only, "only", nil, "some of: latency, waiting, sends, service, crowd, page, start, large, members, irc,\nand what is left out unless it is asked for: backlog, and parts of irc: irc-puppets, irc-talk, irc-crowds")
	cmd.Flags().StringVar(&o.Binary, "server", "", "another trestle binary to measure, as to compare two")
	verbose := cmd.Flags().Bool("verbose", false, "show the server's log")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.Binary == "" {
			var err error
			if o.Binary, err = os.Executable(); err != nil {
				return err
			}
		}
		if *verbose {
			o.Log = c.std.err
		}
		figures, err := bench.Run(cmd.Context(), o)
		if err != nil {
			return err
		}
		return bench.Table(c.std.out, figures)
	}
	return cmd
}
