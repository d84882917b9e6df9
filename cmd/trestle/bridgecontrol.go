package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trestle/bridges/irc"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

// ircCommands are those of the operator of a bridge that runs, in the server's process or in its own.
func (c commands) ircCommands() []*cobra.Command {
	return []*cobra.Command{c.ircStatus(), c.ircRooms(), c.ircRehash(), c.ircReconnect(), c.ircKick(), c.ircImport()}
}

// control makes a command of something that a running bridge does. How it is reached is in the data
// folder: whoever can read that may do it.
func (c commands) control(cmd *cobra.Command, run func(ctx context.Context, bridge *irc.Operator, args []string) error) *cobra.Command {
	src := c.addConfigFlags(cmd)
	cmd.Long = cmd.Short + ".\n\nThe command speaks to the bridge that runs with the same data folder."
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bridge, err := irc.Command(controlFile(src))
		if err != nil {
			return err
		}
		return run(cmd.Context(), bridge, args)
	}
	return cmd
}

// controlFile is where a running bridge says how it is reached. A configuration that is wrong must not
// keep anybody from asking.
func controlFile(src config.Source) string {
	if cfg, err := config.Load(src); err == nil {
		return cfg.InData(irc.ControlFile)
	}
	file, _ := src.File()
	if folder := src.Value("data"); folder != "" {
		return filepath.Join(folder, irc.ControlFile)
	}
	return filepath.Join(filepath.Dir(file), irc.ControlFile)
}

// printJSON prints a result for scripts.
func (c commands) printJSON(result any) error {
	encoder := json.NewEncoder(c.std.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

func (c commands) ircStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show the networks, their connections and what waits", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	return c.control(cmd, func(ctx context.Context, bridge *irc.Operator, _ []string) error {
		var status irc.Status
		if err := bridge.Do(ctx, http.MethodGet, "/status", irc.CommandBody{}, &status); err != nil {
			return err
		}
		if *asJSON {
			return c.printJSON(status)
		}
		return c.printStatus(status)
	})
}

func (c commands) printStatus(status irc.Status) error {
	rows := [][]string{{"NETWORK", "STATE", "SERVER", "NICK", "LAG", "CHANNELS", "PORTALS", "DIRECT", "PUPPETS", "WAITING", "TO IRC", "TO MATRIX"}}
	for _, n := range status.Networks {
		lag := ""
		if n.Lag >= 0 {
			lag = (time.Duration(n.Lag) * time.Millisecond).String()
		}
		puppets := strconv.Itoa(n.Puppets)
		if n.PuppetsOff > 0 {
			puppets += fmt.Sprintf(" of %d", n.Puppets+n.PuppetsOff)
		}
		rows = append(rows, []string{
			n.ID, n.State, n.Server, n.Nick, lag, strconv.Itoa(n.Channels), strconv.Itoa(n.Portals), strconv.Itoa(n.Directs),
			puppets, strconv.Itoa(n.Waiting), strconv.Itoa(n.ToIRC), strconv.Itoa(n.ToMatrix),
		})
	}
	if err := c.table(rows); err != nil {
		return err
	}
	for _, n := range status.Networks {
		for _, server := range n.Servers {
			if server.Failures > 0 {
				fmt.Fprintf(c.std.out, "%s: %s has not answered, %d %s\n", n.ID, server.Addr, server.Failures, plural(server.Failures, "time"))
			}
		}
		if n.LastError != "" {
			fmt.Fprintf(c.std.out, "%s: last error, %s: %s\n", n.ID, day(n.LastFailed), printable(n.LastError))
		}
	}
	_, err := fmt.Fprintf(c.std.out, "%d %s with a room, %d without; %d to send to Matrix, %d from Matrix to work off\n",
		status.Bridge.Portals, plural(status.Bridge.Portals, "portal"), status.Bridge.Listening, status.Bridge.WaitingToMatrix, status.Bridge.WaitingFromMatrix)
	return err
}

func (c commands) ircRooms() *cobra.Command {
	cmd := &cobra.Command{Use: "rooms", Short: "List the channels, direct chats and their rooms", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	return c.control(cmd, func(ctx context.Context, bridge *irc.Operator, _ []string) error {
		rooms := []irc.RoomStatus{}
		if err := bridge.Do(ctx, http.MethodGet, "/rooms", irc.CommandBody{}, &rooms); err != nil {
			return err
		}
		if *asJSON {
			return c.printJSON(rooms)
		}
		rows := [][]string{{"NETWORK", "CHANNEL", "ROOM", "ALIAS", "BOT", "MATRIX", "IRC", "HELD", "QUEUED"}}
		for _, r := range rooms {
			in := yes(r.Joined)
			if r.Direct {
				in = "direct"
			}
			rows = append(rows, []string{
				r.Network, r.Channel, string(r.Room), string(r.Alias), in,
				strconv.Itoa(r.People), strconv.Itoa(r.Ghosts), strconv.Itoa(r.Held), strconv.Itoa(r.Queued),
			})
		}
		return c.table(rows)
	})
}

func (c commands) ircRehash() *cobra.Command {
	cmd := &cobra.Command{Use: "rehash", Short: "Have the bridge read its configuration again, as SIGHUP does, and say what has changed", Args: cobra.NoArgs}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	return c.control(cmd, func(ctx context.Context, bridge *irc.Operator, _ []string) error {
		var changes irc.Changes
		if err := bridge.Do(ctx, http.MethodPost, "/rehash", irc.CommandBody{}, &changes); err != nil {
			return err
		}
		if *asJSON {
			return c.printJSON(changes)
		}
		return c.printChanges(changes)
	})
}

func (c commands) printChanges(changes irc.Changes) error {
	lines := []string{}
	for _, id := range changes.Added {
		lines = append(lines, id+": new, connecting")
	}
	for _, id := range changes.Removed {
		lines = append(lines, id+": removed, its connections are closed")
	}
	for _, id := range slices.Sorted(maps.Keys(changes.Changed)) {
		lines = append(lines, id+": in force: "+strings.Join(changes.Changed[id], ", "))
	}
	for _, key := range changes.Restart {
		lines = append(lines, key+": needs a restart")
	}
	if len(lines) == 0 {
		lines = append(lines, "Nothing has changed.")
	}
	_, err := fmt.Fprintln(c.std.out, strings.Join(lines, "\n"))
	return err
}

func (c commands) ircReconnect() *cobra.Command {
	var body irc.CommandBody
	cmd := &cobra.Command{Use: "reconnect NETWORK", Short: "Drop a network's connections, or one user's, and make new ones", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar((*string)(&body.User), "user", "", "only the connection of this Matrix `USER`")
	return c.control(cmd, func(ctx context.Context, bridge *irc.Operator, args []string) error {
		body.Network = args[0]
		return c.aboutConnections(ctx, bridge, "/reconnect", body, "%d %s dropped; new ones are being made.\n")
	})
}

func (c commands) ircKick() *cobra.Command {
	var body irc.CommandBody
	cmd := &cobra.Command{Use: "kick USER", Short: "Take a Matrix user off IRC and out of the channels' rooms", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&body.Network, "network", "", "on this `NETWORK` only")
	cmd.Flags().StringVar(&body.Reason, "reason", "", "the `REASON`, for everybody to see")
	return c.control(cmd, func(ctx context.Context, bridge *irc.Operator, args []string) error {
		user, err := matrix.ParseUserID(args[0])
		if err != nil {
			return fmt.Errorf("%s is no user ID: %w", args[0], err)
		}
		body.User = user
		return c.aboutConnections(ctx, bridge, "/kick", body, "%d %s ended.\n")
	})
}

func (c commands) aboutConnections(ctx context.Context, bridge *irc.Operator, path string, body irc.CommandBody, said string) error {
	var done irc.Connections
	if err := bridge.Do(ctx, http.MethodPost, path, body, &done); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.std.out, said, done.Connections, plural(done.Connections, "connection"))
	return err
}
