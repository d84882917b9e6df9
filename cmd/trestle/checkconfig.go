package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c commands) checkConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Read the configuration and name everything that is wrong with it",
		Args:  cobra.NoArgs,
	}
	src := c.addConfigFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, err := c.load(src)
		if err != nil {
			return err
		}
		for _, warning := range cfg.Warnings {
			fmt.Fprintln(c.std.out, "warning: "+warning)
		}
		if cfg.File == "" {
			file, _ := src.File()
			fmt.Fprintf(c.std.out, "There is no %s; the defaults are fine for %s.\n", file, cfg.ServerName)
			return nil
		}
		fmt.Fprintf(c.std.out, "%s is fine for %s.\n", cfg.File, cfg.ServerName)
		return nil
	}
	return cmd
}
