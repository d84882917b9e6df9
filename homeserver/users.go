package homeserver

import (
	"context"
	"log/slog"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// A NewUser is an account that an operator makes.
type NewUser struct {
	Localpart string
	Password  config.Secret
	Admin     bool
}

// CreateUser makes an account in the database, beside a running server. The
// operator is not bound by who may register.
func CreateUser(ctx context.Context, cfg *config.Config, log *slog.Logger, user NewUser) (matrix.UserID, error) {
	db, err := database.Open(ctx, cfg.Database.Reveal(), migrations.Homeserver, database.Options{Log: log})
	if err != nil {
		return "", err
	}
	defer db.Close()
	service := accounts.New(accounts.Options{
		ServerName: cfg.ServerName, DB: db, Store: storage.NewAccounts(db), Log: log,
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
