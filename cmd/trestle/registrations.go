package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trestle/homeserver/registrar"
	"trestle/internal/config"
	"trestle/registration"
)

// maxRegistrationFile is how large a file may be that is checked or added.
const maxRegistrationFile = 1 << 20

func readRegistration(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxRegistrationFile+1))
	if err != nil {
		return "", err
	}
	if len(raw) > maxRegistrationFile {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxRegistrationFile)
	}
	return string(raw), nil
}

func (c commands) appserviceCheck() *cobra.Command {
	cmd := &cobra.Command{Use: "check FILE", Short: "Explain what a registration would do on this server", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		text, err := readRegistration(args[0])
		if err != nil {
			return err
		}
		var report registrar.Report
		body := map[string]string{"registration": text, "file": args[0]}
		if err := s.Do(ctx, "POST", adminOwn+"/appservices/check", body, &report); err != nil {
			return err
		}
		if err := c.explain(&report); err != nil {
			return err
		}
		if !report.Usable {
			return fmt.Errorf("%s cannot be used", args[0])
		}
		return nil
	})
}

// explain prints a report in words.
func (c commands) explain(report *registrar.Report) error {
	var text strings.Builder
	switch {
	case report.Usable && report.Replaces:
		fmt.Fprintf(&text, "This is a registration of %q, which is there already.\n", report.ID)
	case report.Usable:
		fmt.Fprintf(&text, "This is a registration of %q, which is new.\n", report.ID)
	}
	for _, f := range report.Findings {
		where := ""
		if f.Line > 0 {
			where = fmt.Sprintf("line %d: ", f.Line)
		}
		fmt.Fprintf(&text, "%s: %s%s\n", f.Level, where, f.Text)
	}
	for _, m := range report.Matches {
		exclusive := ""
		if m.Exclusive {
			exclusive = ", for itself alone"
		}
		fmt.Fprintf(&text, "%s %s%s: matches %d that %s", m.Kind, m.Regex, exclusive, m.Count, map[bool]string{true: "is there", false: "are there"}[m.Count == 1])
		if len(m.Examples) > 0 {
			fmt.Fprintf(&text, ", such as %s", strings.Join(m.Examples, ", "))
		}
		text.WriteString(".\n")
	}
	for _, o := range report.Overlaps {
		fmt.Fprintf(&text, "%s %s: overlaps with %s of %q, in %s.\n", o.Kind, o.Regex, o.OtherRegex, o.Other, o.Example)
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(c.std.out, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

func (c commands) appserviceGenerate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate [FILE]",
		Short: "Write a new registration with random tokens; it is not put in force",
		Long: "Write a new registration with random tokens, readable by its owner alone. It is\n" +
			"not put in force: change what you like, then trestle appservice add FILE.",
		Example: "  trestle appservice generate --id tea --url http://127.0.0.1:9000 tea.yaml",
		Args:    cobra.MaximumNArgs(1),
	}
	id := cmd.Flags().String("id", "", "names the service; needed")
	address := cmd.Flags().String("url", "", "where the homeserver reaches it; left out, it is sent nothing")
	sender := cmd.Flags().String("sender", "", "the service's own user, else the ID and _bot")
	prefix := cmd.Flags().String("prefix", "", "begins the names of its users and aliases, else the ID and _")
	src := c.addConfigFlags(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		cfg, err := c.load(src)
		if err != nil {
			return err
		}
		if *id == "" {
			return errors.New("--id is missing: it names the service")
		}
		data, err := newRegistration(cfg, *id, *address, *sender, *prefix)
		if err != nil {
			return err
		}
		path := localpartOf(*id) + ".yaml"
		if len(args) > 0 {
			path = args[0]
		}
		if err := writeNew(path, data); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.std.out, "%s is written. %s puts it in force.\n", path, c.again("appservice add "+path, cfg))
		return err
	}
	return cmd
}

var notInLocalparts = regexp.MustCompile(`[^a-z0-9._=/-]`)

// localpartOf makes a name for users and files of an ID.
func localpartOf(id string) string {
	return notInLocalparts.ReplaceAllString(strings.ReplaceAll(strings.ToLower(id), "/", "_"), "_")
}

// newRegistration is the annotated text of a registration.
func newRegistration(cfg *config.Config, id, address, sender, prefix string) ([]byte, error) {
	if sender == "" {
		sender = localpartOf(id) + "_bot"
	}
	if prefix == "" {
		prefix = localpartOf(id) + "_"
	}
	r := registration.Generate(id, address, sender)
	ending := regexp.QuoteMeta(prefix) + ".*:" + regexp.QuoteMeta(string(cfg.ServerName))
	users, err := registration.NewNamespace("@"+ending, true)
	if err != nil {
		return nil, err
	}
	aliases, err := registration.NewNamespace("#"+ending, true)
	if err != nil {
		return nil, err
	}
	r.Namespaces.Users, r.Namespaces.Aliases = []registration.Namespace{users}, []registration.Namespace{aliases}
	return r.Annotated()
}

// writeNew writes a file that is not there yet, for its owner alone.
func writeNew(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

func (c commands) appserviceAdd() *cobra.Command {
	cmd := &cobra.Command{Use: "add FILE", Short: "Check a registration, copy it into the server's folder and put it in force", Args: cobra.ExactArgs(1)}
	replace := cmd.Flags().Bool("replace", false, "in place of the registration with the same ID")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		text, err := readRegistration(args[0])
		if err != nil {
			return err
		}
		var added struct {
			File   string            `json:"file"`
			Report *registrar.Report `json:"report"`
		}
		body := map[string]any{"registration": text, "file": args[0], "replace": *replace}
		if err := s.Do(ctx, "POST", adminOwn+"/appservices", body, &added); err != nil {
			return err
		}
		if err := c.explain(added.Report); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.std.out, "It is in %s, and in force%s.\n", added.File, s.when())
		return err
	})
}

// when says when something takes effect.
func (s session) when() string {
	if s.Alone() {
		return " when the server starts"
	}
	return ""
}

func (c commands) appserviceRemove() *cobra.Command {
	cmd := &cobra.Command{Use: "remove ID --reason …", Short: "Take a registration out of force; its file is kept under another name", Args: cobra.ExactArgs(1)}
	reason := needsReason(cmd, "is kept in the log")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		var removed struct {
			Kept string `json:"kept"`
		}
		if err := s.Do(ctx, "DELETE", appservicePath(args[0], "?"+url.Values{"reason": {*reason}}.Encode()), nil, &removed); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s is no service of this server any more; its file is %s.\n", args[0], removed.Kept)
		fmt.Fprintln(c.std.out, "Its users, rooms and aliases stay, and so does its place in the queue: if the file comes back,\n"+
			"it is sent what has happened since, unless trestle appservice forget says otherwise. Anybody may take names\n"+
			"now that were its alone.")
		return nil
	})
}

func (c commands) appserviceRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate-token ID",
		Short: "Give a service another as_token; the one before is good for a while",
		Args:  cobra.ExactArgs(1),
	}
	grace := cmd.Flags().String("grace", "24h", "for so long the tokens from before are good: 0s, 24h, up to 30d")
	both := cmd.Flags().Bool("hs-token", false, "another hs_token, too")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		d, err := config.ParseDuration(*grace)
		if err != nil {
			return fmt.Errorf("--grace: %w", err)
		}
		var rotated struct {
			ASToken string `json:"as_token"`
			HSToken string `json:"hs_token"`
			File    string `json:"file"`
			Until   int64  `json:"previous_until_ts"`
		}
		body := map[string]any{"grace_ms": d.Std().Milliseconds(), "hs_token": *both}
		if err := s.Do(ctx, "POST", appservicePath(args[0], "/rotate_token"), body, &rotated); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "as_token: %s\n", rotated.ASToken)
		if *both {
			fmt.Fprintf(c.std.out, "hs_token: %s\n", rotated.HSToken)
		}
		until := "What it had before is refused from now on."
		if rotated.Until > 0 {
			until = "What it had before is good until " + time.UnixMilli(rotated.Until).UTC().Format(time.RFC3339) + "."
		}
		fmt.Fprintf(c.std.out, "%s has it. Put it into the service's own copy, too, and start the service anew.\n%s\n", rotated.File, until)
		return nil
	})
}

func (c commands) appserviceReload() *cobra.Command {
	cmd := &cobra.Command{Use: "reload", Short: "Read all registrations again, as SIGHUP does, and say what has changed", Args: cobra.NoArgs}
	return c.operate(cmd, func(ctx context.Context, s session, _ []string) error {
		if err := s.running(); err != nil {
			return err
		}
		var done struct {
			Changes []registration.Change `json:"changes"`
		}
		if err := s.Do(ctx, "POST", adminOwn+"/appservices/reload", map[string]any{}, &done); err != nil {
			return err
		}
		for _, change := range done.Changes {
			fmt.Fprintln(c.std.out, printable(change.String()))
		}
		if len(done.Changes) == 0 {
			fmt.Fprintln(c.std.out, "Nothing has changed.")
		}
		return nil
	})
}
