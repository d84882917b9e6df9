package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func (c commands) room() *cobra.Command {
	cmd := &cobra.Command{Use: "room", Short: "Manage rooms"}
	cmd.AddCommand(c.roomList(), c.roomShow(), c.roomDelete(), c.roomBlock(), c.roomAdmin())
	return cmd
}

// A listedRoom is a room as the operator's API has it.
type listedRoom struct {
	ID         string `json:"room_id"`
	Name       string `json:"name"`
	Alias      string `json:"canonical_alias"`
	Joined     int64  `json:"joined_members"`
	Local      int64  `json:"joined_local_members"`
	Version    string `json:"version"`
	Creator    string `json:"creator"`
	Public     bool   `json:"public"`
	JoinRules  string `json:"join_rules"`
	Encryption string `json:"encryption"`
}

func (c commands) roomList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [TEXT]", Short: "List rooms, or those with a text in their names, the largest first", Args: cobra.MaximumNArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		query := url.Values{"limit": {"500"}, "order_by": {"joined_members"}}
		if len(args) > 0 {
			query.Set("search_term", args[0])
		}
		var rows [][]string
		for next, first := int64(0), true; first || next > 0; first = false {
			query.Set("from", strconv.FormatInt(next, 10))
			var page struct {
				Rooms []listedRoom `json:"rooms"`
				Next  int64        `json:"next_batch"`
			}
			if err := s.Do(ctx, "GET", adminV1+"/rooms?"+query.Encode(), nil, &page); err != nil {
				return err
			}
			for _, r := range page.Rooms {
				rows = append(rows, []string{r.ID, strconv.FormatInt(r.Joined, 10), r.Alias, r.Name})
			}
			next = page.Next
		}
		return c.table(rows)
	})
}

func (c commands) roomShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show ROOM", Short: "Show a room with its members", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		path := adminV1 + "/rooms/" + url.PathEscape(args[0])
		var r listedRoom
		if err := s.Do(ctx, "GET", path, nil, &r); err != nil {
			return err
		}
		var members struct {
			Members []string `json:"members"`
		}
		if err := s.Do(ctx, "GET", path+"/members", nil, &members); err != nil {
			return err
		}
		rows := [][]string{
			{"room", r.ID}, {"name", r.Name}, {"alias", r.Alias}, {"version", r.Version}, {"creator", r.Creator}, {"public", yes(r.Public)},
			{"join rules", r.JoinRules}, {"encrypted", yes(r.Encryption != "")}, {"members", fmt.Sprintf("%d, %d of this server", r.Joined, r.Local)},
		}
		for _, member := range members.Members {
			rows = append(rows, []string{"member", member})
		}
		return c.table(rows)
	})
}

func (c commands) roomDelete() *cobra.Command {
	cmd := &cobra.Command{Use: "delete ROOM", Short: "Take all users of this server out of a room and remove all that is kept of it", Args: cobra.ExactArgs(1)}
	block := cmd.Flags().Bool("block", false, "let nobody of this server join it again")
	keep := cmd.Flags().Bool("keep-history", false, "take the users out, and remove nothing")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		var result struct {
			Kicked []string `json:"kicked_users"`
		}
		body := map[string]bool{"block": *block, "purge": !*keep}
		if err := s.Do(ctx, "DELETE", adminV1+"/rooms/"+url.PathEscape(args[0]), body, &result); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "The room is gone; %d %s had to leave.\n", len(result.Kicked), plural(len(result.Kicked), "user"))
		return nil
	})
}

func (c commands) roomBlock() *cobra.Command {
	cmd := &cobra.Command{Use: "block ROOM", Short: "Let nobody of this server join a room", Args: cobra.ExactArgs(1)}
	lift := cmd.Flags().Bool("lift", false, "let them join it again")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		if err := s.Do(ctx, "PUT", adminV1+"/rooms/"+url.PathEscape(args[0])+"/block", map[string]bool{"block": !*lift}, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "Blocked: %s.\n", yes(!*lift))
		return nil
	})
}

func (c commands) roomAdmin() *cobra.Command {
	cmd := &cobra.Command{Use: "admin ROOM NAME", Short: "Give a user as much power in a room as its administrator has", Args: cobra.ExactArgs(2)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		id, _, err := s.user(args[1])
		if err != nil {
			return err
		}
		path := adminV1 + "/rooms/" + url.PathEscape(args[0]) + "/make_room_admin"
		if err := s.Do(ctx, "POST", path, map[string]string{"user_id": string(id)}, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s is an administrator of the room.\n", id)
		return nil
	})
}
