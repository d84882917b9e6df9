package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"trestle/internal/config"
)

func (c commands) initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a data folder, without starting",
		Long: "Make a data folder with an annotated configuration and a signing key. The flags\n" +
			"given go into the configuration.",
		Example: "  trestle init --data /var/lib/trestle --server-name example.org",
		Args:    cobra.NoArgs,
	}
	src := c.addConfigFlags(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		if file, named := src.File(); named {
			return fmt.Errorf("init makes %s itself; name the folder with --data instead of %s", config.FileName, file)
		}
		created, err := config.Init(src.Folder(), src.Flags.Values())
		if err != nil {
			return err
		}
		cfg, err := c.load(src)
		if err != nil {
			return err
		}
		if _, _, err := config.SigningKey(cfg.SigningKey); err != nil {
			return err
		}
		if !created {
			return fmt.Errorf("%s is there already; it was left as it is", cfg.File)
		}
		fmt.Fprintf(c.std.out, "%s is ready. Start the server with: %s\n", cfg.File, c.again("serve", cfg))
		return nil
	}
	return cmd
}
