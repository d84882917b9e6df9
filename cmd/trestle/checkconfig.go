package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"trestle/internal/config"
	"trestle/registration"
)

func (c commands) checkConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Read the configuration and name everything that is wrong with it",
		Long: "Read the configuration and the registrations of application services, and name\n" +
			"everything that is wrong with them.",
		Args: cobra.NoArgs,
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
		if err := c.checkRegistrations(cfg); err != nil {
			return err
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

// checkRegistrations holds registrations to what a start wants of them. A folder that is
// not there yet has none.
func (c commands) checkRegistrations(cfg *config.Config) error {
	var all []*registration.Registration
	var wrong []error
	for _, folder := range cfg.AppServices {
		regs, err := registration.LoadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		wrong = append(wrong, err)
		all = append(all, regs...)
	}
	for _, reg := range all {
		for _, warning := range reg.Warnings {
			fmt.Fprintln(c.std.out, "warning: "+warning.Error())
		}
	}
	_, err := registration.NewSet(cfg.ServerName, all...)
	if err := errors.Join(append(wrong, err)...); err != nil {
		fmt.Fprintln(c.std.err, err)
		return errors.New("with these registrations the server does not start")
	}
	return nil
}
