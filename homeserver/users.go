package homeserver

import (
	"context"
	"fmt"
	"log/slog"

	"trestle/homeserver/accounts"
	"trestle/homeserver/registrar"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
	"trestle/registration"
)

// A NewUser is an account that an operator makes.
type NewUser struct {
	Localpart string
	Password  config.Secret
	Admin     bool
}

// CreateUser makes an account in the database, beside a running server. The
// operator is not bound by who may register, but by whose names are whose.
func CreateUser(ctx context.Context, cfg *config.Config, log *slog.Logger, user NewUser) (matrix.UserID, error) {
	set, err := registrar.Load(cfg.ServerName, cfg.AppServices)
	if err != nil {
		return "", err
	}
	db, err := database.Open(ctx, cfg.Database.Reveal(), migrations.Homeserver, database.Options{Log: log})
	if err != nil {
		return "", err
	}
	defer db.Close()
	store := storage.NewAccounts(db)
	if err := checkName(ctx, cfg.ServerName, store); err != nil {
		return "", err
	}
	service := accounts.New(accounts.Options{
		ServerName: cfg.ServerName, DB: db, Store: store, Log: log,
		AppServices: registration.NewRegistry(set), Reserved: reserved(cfg),
		Passwords: accounts.PasswordOptions{
			Bcrypt: cfg.Passwords.Hash == "bcrypt", BcryptCost: cfg.Passwords.BcryptCost,
			Memory: uint32(cfg.Passwords.Memory >> 10), Iterations: uint32(cfg.Passwords.Iterations), MinLength: cfg.Passwords.MinLength,
		},
	})
	login, err := service.Register(ctx, accounts.Registration{
		Username: user.Localpart, Password: user.Password.Reveal(), Admin: user.Admin,
	})
	if err != nil {
		return "", err
	}
	return login.UserID, nil
}

// checkName refuses a database with people of another server: nobody could log in,
// and what they are members of would not be theirs.
func checkName(ctx context.Context, name matrix.ServerName, store *storage.Accounts) error {
	stranger, err := store.Stranger(ctx, name)
	if err == nil && stranger != "" {
		err = fmt.Errorf("the database has users of the server %s, as %s; server_name is %s, and cannot change once there are users: set it back, or use another data folder and database",
			stranger.Server(), stranger, name)
	}
	return err
}
