package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trestle/internal/config"
	"trestle/internal/heap"
	"trestle/internal/telemetry"
)

func (c commands) serve() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the homeserver and its bridges",
		Long: "Run the homeserver and its bridges. The first start makes a data folder with an\n" +
			"annotated configuration and a signing key; later ones use what is there.\n\n" +
			"Every flag is also a key of the configuration (server_name) and a variable\n" +
			"(TRESTLE_SERVER_NAME). A flag wins over a variable, a variable over the file.",
		Args: cobra.NoArgs,
	}
	src := c.addConfigFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.runServer(cmd.Context(), src)
	}
	return cmd
}

// headroom is how much memory is used before a small server collects garbage.
const headroom = 64 << 20

func (c commands) runServer(ctx context.Context, src config.Source) error {
	first, ours, err := c.firstStart(src)
	if err != nil {
		return err
	}
	cfg, err := c.load(src)
	if err != nil {
		return err
	}
	log, err := c.logger(ctx, cfg)
	if err != nil {
		return err
	}
	key, created, err := config.SigningKey(cfg.SigningKey)
	if err != nil {
		return err
	}
	if created && !first {
		log.WarnContext(ctx, "there was no signing key, so a new one was made", "file", cfg.SigningKey, "key", key.ID)
	}
	heap.KeepHeadroom(headroom)
	log.InfoContext(ctx, "starting", "server_name", cfg.ServerName, "version", telemetry.Build().Version, "data", cfg.Data)
	defer context.AfterFunc(ctx, func() { log.Info("stopping", "within", cfg.ShutdownTimeout.String()) })()
	err = c.homeserver.Run(ctx, cfg, log, func(nobody func(context.Context) (bool, error)) {
		if !ours {
			return
		}
		unused, err := nobody(ctx)
		if err != nil {
			log.WarnContext(ctx, "it is not known whether somebody has an account", "err", err)
		}
		if unused {
			fmt.Fprint(c.std.out, c.nextSteps(cfg))
		}
	})
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// firstStart makes the data folder if there is no configuration yet, unless
// somebody looks after a configuration of his own. The server's name goes into
// the file, because it has to stay; the other flags are for this start.
func (c commands) firstStart(src config.Source) (first, ours bool, err error) {
	file, named := src.File()
	exists, err := fileExists(file)
	if err != nil || exists || named {
		return false, !named, err
	}
	values := map[string][]string{}
	if name := src.Value("server_name"); name != "" {
		values["server_name"] = []string{name}
	}
	first, err = config.Init(src.Folder(), values)
	return first, true, err
}

// nextSteps tells a person whose server nobody uses yet what he can do with it.
func (c commands) nextSteps(cfg *config.Config) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\nTrestle is running as %s. What to do next:\n\n", cfg.ServerName)
	fmt.Fprintf(&text, "  create a user   %s\n", c.again("user create alice", cfg))
	fmt.Fprintf(&text, "  log in          with any Matrix client at %s\n", cfg.BaseURL())
	if name, network, ok := firstNetwork(cfg); ok {
		alias := strings.NewReplacer("{network}", name, "{channel}", "#trestle").Replace(network.Alias)
		fmt.Fprintf(&text, "  join a channel  #%s:%s is #trestle on %s\n", alias, cfg.ServerName, network.Address)
	}
	fmt.Fprintf(&text, "  change settings %s explains each\n\n", cfg.File)
	return text.String()
}

func firstNetwork(cfg *config.Config) (string, config.IRCNetwork, bool) {
	networks := cfg.Bridges.IRC.Networks
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		if network := networks[name]; network.Enabled && !cfg.NoBridges {
			return name, network, true
		}
	}
	return "", config.IRCNetwork{}, false
}
