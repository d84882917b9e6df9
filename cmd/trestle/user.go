package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"trestle/internal/config"
	"trestle/internal/matrix"
)

// maxPassword bounds what is read from standard input.
const maxPassword = 4096

func (c commands) user() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Manage accounts"}
	cmd.AddCommand(c.userCreate(), c.userList(), c.userShow(), c.userResetPassword(), c.userDeactivate(), c.userAdmin())
	return cmd
}

func (c commands) userCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an account, beside a running server or without one",
		Long: "Create an account, beside a running server or without one. Unless a password\n" +
			"comes on standard input, one is made up and printed.",
		Example: "  trestle user create alice\n  printf %s \"$PASSWORD\" | trestle user create alice --password-stdin --admin",
		Args:    cobra.ExactArgs(1),
	}
	fromInput := cmd.Flags().Bool("password-stdin", false, "read the password from standard input, up to the end of the line")
	admin := cmd.Flags().Bool("admin", false, "make the user an administrator of this server")
	src := c.addConfigFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.createUser(cmd.Context(), src, args[0], *fromInput, *admin)
	}
	return cmd
}

func (c commands) createUser(ctx context.Context, src config.Source, name string, fromInput, admin bool) error {
	cfg, err := c.loadServer(src)
	if err != nil {
		return err
	}
	localpart, err := ownLocalpart(name, cfg.ServerName)
	if err != nil {
		return err
	}
	password, made := config.Secret(rand.Text()), true
	if fromInput {
		made = false
		if password, err = readPassword(c.std.in); err != nil {
			return err
		}
	}
	log, err := c.logger(ctx, cfg)
	if err != nil {
		return err
	}
	id, err := c.homeserver.CreateUser(ctx, cfg, log, NewUser{Localpart: localpart, Password: password, Admin: admin})
	if err != nil {
		return fmt.Errorf("create %s: %w", matrix.NewUserID(localpart, cfg.ServerName), err)
	}
	fmt.Fprintf(c.std.out, "Created %s.\n", id)
	if made {
		fmt.Fprintf(c.std.out, "Password: %s\n", password.Reveal())
	}
	return nil
}

// ownLocalpart accepts alice and @alice:our.server.
func ownLocalpart(name string, server matrix.ServerName) (string, error) {
	if strings.HasPrefix(name, "@") {
		id, err := matrix.ParseUserID(name)
		if err != nil {
			return "", err
		}
		if id.Server() != server {
			return "", fmt.Errorf("%s is not of this server, %s", id, server)
		}
		name = id.Localpart()
	}
	if !matrix.ValidLocalpart(name) {
		return "", fmt.Errorf("%q cannot be a user's name: it may have a-z, 0-9 and ._=-/+", name)
	}
	return name, nil
}

func readPassword(in io.Reader) (config.Secret, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return "", errors.New("there is no password on standard input")
	}
	if len(password) > maxPassword {
		return "", fmt.Errorf("the password is longer than %d bytes", maxPassword)
	}
	return config.Secret(password), nil
}
