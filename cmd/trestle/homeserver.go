package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

// server is the homeserver of this binary, with its bundled bridges.
type server struct{}

// Run implements Homeserver. A bridge that fails is shown and leaves the
// homeserver alone.
func (server) Run(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func(nobody func(context.Context) (bool, error))) error {
	bridge, err := bundleIRC(cfg, log)
	if err != nil {
		return err
	}
	if bridge == nil {
		return homeserver.Run(ctx, cfg, log, homeserver.Hooks{Ready: func(here homeserver.Running) { ready(here.Nobody) }})
	}
	defer bridge.close()
	// The bridge says goodbye while the homeserver still answers.
	bridging, end := context.WithCancel(ctx)
	defer end()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running atomic.Bool
	defer context.AfterFunc(ctx, func() {
		if !running.Load() {
			stop() // it may have to wait for its turn, without a bridge
		}
	})()
	var bridged sync.WaitGroup
	err = homeserver.Run(serving, bridge.cfg, log, homeserver.Hooks{Begin: bridge.begin, Ready: func(here homeserver.Running) {
		running.Store(true)
		bridged.Go(func() {
			if err := bridge.run(bridging, here); err != nil && !errors.Is(err, context.Canceled) {
				bridge.log.ErrorContext(ctx, "the bridge has stopped", "err", err)
			}
			<-bridging.Done()
			stop()
		})
		ready(here.Nobody)
	}})
	end()
	bridged.Wait()
	return err
}

// CreateUser implements Homeserver.
func (server) CreateUser(ctx context.Context, cfg *config.Config, log *slog.Logger, user NewUser) (matrix.UserID, error) {
	return homeserver.CreateUser(ctx, cfg, log, homeserver.NewUser(user))
}

// Operator implements Homeserver.
func (server) Operator(ctx context.Context, cfg *config.Config, log *slog.Logger) (Operator, error) {
	return homeserver.NewOperator(ctx, cfg, log)
}
