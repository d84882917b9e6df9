package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"trestle/internal/config"
	"trestle/internal/matrix"
)

// An account as the operator's API has it.
type account struct {
	Name        matrix.UserID `json:"name"`
	DisplayName string        `json:"displayname"`
	Admin       bool          `json:"admin"`
	Guest       bool          `json:"is_guest"`
	Deactivated bool          `json:"deactivated"`
	AppService  string        `json:"appservice_id"`
	CreatedAt   int64         `json:"creation_ts"`
}

func (a account) kind() string {
	switch {
	case a.Deactivated:
		return "deactivated"
	case a.Admin:
		return "admin"
	case a.Guest:
		return "guest"
	}
	return "user"
}

func (c commands) userList() *cobra.Command {
	cmd := &cobra.Command{Use: "list [TEXT]", Short: "List accounts, or those with a text in their IDs", Args: cobra.MaximumNArgs(1)}
	all := cmd.Flags().Bool("all", false, "deactivated ones as well")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		query := url.Values{"limit": {"500"}, "deactivated": {strconv.FormatBool(*all)}}
		if len(args) > 0 {
			query.Set("name", args[0])
		}
		var rows [][]string
		for from := "0"; from != ""; {
			query.Set("from", from)
			var page struct {
				Users []account `json:"users"`
				Next  string    `json:"next_token"`
			}
			if err := s.Do(ctx, "GET", adminV2+"/users?"+query.Encode(), nil, &page); err != nil {
				return err
			}
			for _, a := range page.Users {
				rows = append(rows, []string{string(a.Name), a.kind(), a.DisplayName})
			}
			from = page.Next
		}
		return c.table(rows)
	})
}

func (c commands) userShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show NAME", Short: "Show an account with its devices and rooms", Args: cobra.ExactArgs(1)}
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		_, path, err := s.user(args[0])
		if err != nil {
			return err
		}
		var a account
		if err := s.Do(ctx, "GET", adminV2+"/users/"+path, nil, &a); err != nil {
			return err
		}
		rows := [][]string{{"user", string(a.Name)}, {"name", a.DisplayName}, {"kind", a.kind()}, {"since", day(a.CreatedAt * 1000)}}
		if a.AppService != "" {
			rows = append(rows, []string{"application service", a.AppService})
		}
		var devices struct {
			Devices []struct {
				ID   string `json:"device_id"`
				Name string `json:"display_name"`
				Seen int64  `json:"last_seen_ts"`
			} `json:"devices"`
		}
		if err := s.Do(ctx, "GET", adminV2+"/users/"+path+"/devices", nil, &devices); err != nil {
			return err
		}
		for _, d := range devices.Devices {
			rows = append(rows, []string{"device", d.ID + " " + d.Name + ", seen " + day(d.Seen)})
		}
		var joined struct {
			Rooms []string `json:"joined_rooms"`
		}
		if err := s.Do(ctx, "GET", adminV1+"/users/"+path+"/joined_rooms", nil, &joined); err != nil {
			return err
		}
		for _, room := range joined.Rooms {
			rows = append(rows, []string{"room", room})
		}
		return c.table(rows)
	})
}

// day is a time in milliseconds for people.
func day(ms int64) string {
	if ms == 0 {
		return "never"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04")
}

func (c commands) userResetPassword() *cobra.Command {
	cmd := &cobra.Command{Use: "reset-password NAME", Short: "Give an account a new password, which is printed unless it came on standard input", Args: cobra.ExactArgs(1)}
	fromInput := cmd.Flags().Bool("password-stdin", false, "read the password from standard input, up to the end of the line")
	keep := cmd.Flags().Bool("keep-devices", false, "do not log the user out")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		id, path, err := s.user(args[0])
		if err != nil {
			return err
		}
		password := config.Secret(rand.Text())
		if *fromInput {
			if password, err = readPassword(c.std.in); err != nil {
				return err
			}
		}
		body := map[string]any{"new_password": password.Reveal(), "logout_devices": !*keep}
		if err := s.Do(ctx, "POST", adminV1+"/reset_password/"+path, body, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s has a new password.\n", id)
		if !*fromInput {
			fmt.Fprintf(c.std.out, "Password: %s\n", password.Reveal())
		}
		return nil
	})
}

func (c commands) userDeactivate() *cobra.Command {
	cmd := &cobra.Command{Use: "deactivate NAME", Short: "End an account for good: nobody can log in to it or take its name", Args: cobra.ExactArgs(1)}
	erase := cmd.Flags().Bool("erase", false, "remove the profile and the account data too")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		id, path, err := s.user(args[0])
		if err != nil {
			return err
		}
		if err := s.Do(ctx, "POST", adminV1+"/deactivate/"+path, map[string]bool{"erase": *erase}, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "%s is deactivated.\n", id)
		return nil
	})
}

func (c commands) userAdmin() *cobra.Command {
	cmd := &cobra.Command{Use: "admin NAME", Short: "Make a user an administrator of this server", Args: cobra.ExactArgs(1)}
	revoke := cmd.Flags().Bool("revoke", false, "make the user none any more")
	return c.operate(cmd, func(ctx context.Context, s session, args []string) error {
		id, path, err := s.user(args[0])
		if err != nil {
			return err
		}
		if err := s.Do(ctx, "PUT", adminV1+"/users/"+path+"/admin", map[string]bool{"admin": !*revoke}, nil); err != nil {
			return err
		}
		fmt.Fprintf(c.std.out, "Administrator %s: %s.\n", id, yes(!*revoke))
		return nil
	})
}
