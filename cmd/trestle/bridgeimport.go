package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"trestle/bridges/irc"
	"trestle/bridges/irc/predecessor"
	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/registration"
)

// theirBot is the user of matrix-appservice-irc where its registration names no other.
const theirBot = "appservice-irc"

// An importOptions says what is moved, and whereto.
type importOptions struct {
	config       string
	database     string
	passkey      string
	registration string
	data         string
	into         string
	output       string
	dry          bool
}

func (c commands) ircImport() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Move here from matrix-appservice-irc",
		Long: "Move here from matrix-appservice-irc: read its configuration and its PostgreSQL store,\n" +
			"write a configuration of ours, and fill the bridge's database, so that rooms, aliases,\n" +
			"virtual users and what people have said about themselves stay. Both bridges must be\n" +
			"stopped. It can be repeated, and --dry-run moves nothing.",
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.config, "config", "", "the configuration `FILE` of matrix-appservice-irc")
	flags.StringVar(&o.database, "database", "", "its store, a postgres:// `URL`; else what its configuration says")
	flags.StringVar(&o.passkey, "passkey", "", "the `FILE` with the key to its users' passwords; else what its configuration says, if that is there")
	flags.StringVar(&o.registration, "registration", "", "its registration `FILE`, for the name of its own user; else "+theirBot)
	flags.StringVar(&o.data, "data", config.DefaultData, "our data `FOLDER`")
	flags.StringVar(&o.into, "into", "", "the bridge's own database, a `FILE` or a postgres:// URL; else irc.db in the data folder")
	flags.StringVar(&o.output, "output", "", "write our configuration to this `FILE`; else to standard output")
	flags.BoolVar(&o.dry, "dry-run", false, "say what would be done, and move nothing; a database that is there only gets the newest tables")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.runImport(cmd.Context(), o) }
	return cmd
}

func (c commands) runImport(ctx context.Context, o importOptions) error {
	if o.config == "" {
		return errors.New("--config is missing: the configuration file of matrix-appservice-irc")
	}
	text, err := readAtMost(o.config, predecessor.MaxConfig)
	if err != nil {
		return err
	}
	theirs, err := predecessor.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", o.config, err)
	}
	url := cmp.Or(o.database, theirs.Database)
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return errors.New("its store is not in PostgreSQL: move it there first, by its own script, and name it with --database")
	}
	store, err := predecessor.Read(ctx, url)
	if err != nil {
		return err
	}
	passkey, err := o.readPasskey(theirs)
	if err != nil {
		return err
	}
	bot, err := o.bot()
	if err != nil {
		return err
	}
	return c.move(ctx, o, bot, irc.Import{Config: theirs, Store: store, Passkey: passkey, Bot: bot, DryRun: o.dry})
}

// move writes what is to be written, the database last: it is what says that all is there.
func (c commands) move(ctx context.Context, o importOptions, bot string, i irc.Import) (err error) {
	folder := o.data
	if o.dry {
		if folder, err = os.MkdirTemp("", "trestle-import-"); err != nil {
			return err
		}
		defer os.RemoveAll(folder)
	} else if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	i.KeyFile = filepath.Join(folder, "irc.keys")
	if keys := filepath.Join(o.data, "irc.keys"); o.dry {
		if _, err := os.Stat(keys); err == nil {
			i.KeyFile = keys
		}
	}
	if i.Database, err = o.target(folder); err != nil {
		return err
	}
	i.Logger, err = c.logger(ctx, &config.Config{Logging: config.Logging{Level: "warn", Format: "text"}})
	if err != nil {
		return err
	}
	for name, text := range i.Config.Files(i.Store.Blocked) {
		if err := registration.WriteFile(filepath.Join(folder, name), text); err != nil {
			return err
		}
	}
	ours, wrong := i.Config.YAML(bot)
	result, err := i.Run(ctx)
	if err != nil {
		return err
	}
	if err := c.writeConfig(o, ours); err != nil {
		return err
	}
	c.printImported(i, result)
	return wrong
}

// target is the bridge's database. A dry run looks at the one that is there, and leaves none.
func (o importOptions) target(folder string) (string, error) {
	switch {
	case strings.Contains(o.into, "://"):
		return o.into, nil
	case o.dry:
		path := cmp.Or(o.into, filepath.Join(o.data, "irc.db"))
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, err
		}
		return filepath.Join(folder, "irc.db"), nil
	}
	return cmp.Or(o.into, filepath.Join(folder, "irc.db")), nil
}

func (c commands) writeConfig(o importOptions, text []byte) error {
	if o.output == "" || o.dry {
		_, err := c.std.out.Write(text)
		return err
	}
	// It has passwords in it, and an older one may have been worked on.
	if _, err := os.Stat(o.output); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return err
		}
		fmt.Fprintf(c.std.err, "%s is there already and stays; the new configuration is %s.new\n", o.output, o.output)
		return registration.WriteFile(o.output+".new", text)
	}
	return registration.WriteFile(o.output, text)
}

// printImported tells, beside the configuration, what was done.
func (c commands) printImported(i irc.Import, r irc.Imported) {
	if i.DryRun {
		fmt.Fprintln(c.std.err, "What would be moved:")
	} else {
		fmt.Fprintln(c.std.err, "What was moved:")
	}
	for _, line := range []struct {
		n    int
		what string
	}{
		{r.Portals, "channels with their rooms"}, {r.Plumbed, "of these, rooms that people have linked themselves"}, {r.Directs, "direct chats"}, {r.Management, "rooms in which people talk to the bridge"},
		{r.Ghosts, "virtual users"}, {r.Kept, "of these with IDs as they were, which ours would write otherwise"},
		{r.Accounts, "users with a nick or an account of their own"}, {r.Passwords, "of these with a password"}, {r.Addresses, "IPv6 addresses of users"},
		{r.Mentions, "users who have said whether their nicks mention them"},
		{r.There, "rooms that were here already"},
	} {
		fmt.Fprintf(c.std.err, "%8d  %s\n", line.n, line.what)
	}
	if len(r.Left)+len(i.Config.Notes) > 0 {
		fmt.Fprintln(c.std.err, "\nWhat will not be as it was:")
	}
	for _, note := range i.Config.Notes {
		fmt.Fprintln(c.std.err, printable(note.String()))
	}
	for _, left := range r.Left {
		fmt.Fprintln(c.std.err, printable(left))
	}
}

// readPasskey reads the key to the users' passwords: the one that is named, or the one of the
// configuration, if it is there.
func (o importOptions) readPasskey(theirs *predecessor.Config) (*predecessor.Passkey, error) {
	path := o.passkey
	if path == "" && theirs.Passkey != "" {
		if path = theirs.Passkey; !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(o.config), path)
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if path == "" {
		return nil, nil
	}
	text, err := readAtMost(path, 1<<20)
	if err != nil {
		return nil, err
	}
	key, err := predecessor.ParsePasskey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// bot is the local part of the bridge's own user.
func (o importOptions) bot() (string, error) {
	if o.registration == "" {
		return theirBot, nil
	}
	r, err := registration.LoadFile(o.registration)
	if err != nil {
		return "", err
	}
	if !matrix.ValidLocalpart(r.SenderLocalpart) {
		return "", fmt.Errorf("%s: %q is not a name that the bridge can have", o.registration, r.SenderLocalpart)
	}
	return r.SenderLocalpart, nil
}

func readAtMost(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return text, err
}
