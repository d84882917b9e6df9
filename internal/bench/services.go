package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"trestle/registration"
)

const (
	// crowdServices and crowdSpaces are the services of a busy bridge host, and
	// the expressions of each; crowdSenders is how many people talk meanwhile.
	crowdServices = 100
	crowdSpaces   = 100
	crowdSenders  = 16
	// crowdRounds is how often both servers have their turn.
	crowdRounds = 8
)

// crowd is what the namespaces of many services cost those who send: two
// servers, with and without them, in turn, because a machine's speed changes.
func (b *run) crowd() error {
	var runs [2]*run
	for i, services := range []int{0, crowdServices} {
		folder := filepath.Join(b.server.folder, fmt.Sprint("crowd", services))
		if err := registerCrowd(filepath.Join(folder, "appservices"), services); err != nil {
			return err
		}
		options := b.options
		options.Senders, options.Duration = min(options.Senders, crowdSenders), options.Duration/crowdRounds
		if options.Database != "" {
			var drop func()
			var err error
			if options.Database, drop, err = schemaOf(b.ctx, options.Database); err != nil {
				return err
			}
			defer drop()
		}
		s := &server{options: options, folder: folder}
		if err := s.start(b.ctx); err != nil {
			return err
		}
		defer s.kill()
		runs[i] = &run{ctx: b.ctx, options: options, server: s, client: newClient(s.url)}
		if err := runs[i].people(); err != nil {
			return err
		}
	}
	var ratios []float64
	for round := range crowdRounds {
		var rates [2]float64
		for i := range runs {
			r := runs[(i+round)%2]
			rate, err := r.flood(fmt.Sprint("crowd", round), r.options.Senders, func(n int) string { return r.users[n].room })
			if err != nil {
				return err
			}
			rates[(i+round)%2] = rate
		}
		ratios = append(ratios, rates[1]/rates[0])
	}
	slices.Sort(ratios)
	b.figure(fmt.Sprintf("sends/s with %d services that have %d expressions", crowdServices, crowdServices*crowdSpaces),
		"%.0f%% of those without (median of %d rounds)", 100*ratios[len(ratios)/2], crowdRounds)
	return nil
}

// registerCrowd writes registrations of services that are not spoken to.
func registerCrowd(folder string, services int) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for i := range services {
		reg := registration.Generate(fmt.Sprint("crowd", i), "", fmt.Sprint("bot", i))
		for j := range crowdSpaces {
			space, err := registration.NewNamespace(fmt.Sprintf("@net%d_%d_.*:bench", i, j), true)
			if err != nil {
				return err
			}
			reg.Namespaces.Users = append(reg.Namespaces.Users, space)
		}
		if err := reg.Write(filepath.Join(folder, reg.ID+".yaml")); err != nil {
			return err
		}
	}
	return nil
}

// schemaOf makes a schema in a PostgreSQL database and returns a URL for it.
func schemaOf(ctx context.Context, database string) (schema string, drop func(), err error) {
	u, err := url.Parse(database)
	if err != nil {
		return "", nil, err
	}
	name := "bench_" + strings.ToLower(rand.Text())
	if err := execute(ctx, database, "CREATE SCHEMA "+name); err != nil {
		return "", nil, err
	}
	query := u.Query()
	query.Set("search_path", name)
	u.RawQuery = query.Encode()
	return u.String(), func() { _ = execute(context.WithoutCancel(ctx), database, "DROP SCHEMA "+name+" CASCADE") }, nil
}

func execute(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// watchMemory samples the memory of a server until it is stopped, and returns
// how much more than at the beginning it had at most, in bytes.
func (s *server) watchMemory() (stop func() (int64, error), err error) {
	before, err := s.memory()
	if err != nil {
		return nil, err
	}
	type outcome struct {
		more int64
		err  error
	}
	done, result := make(chan struct{}), make(chan outcome, 1)
	go func() {
		for most := before; ; {
			now, err := s.memory()
			most = max(most, now)
			select {
			case <-done:
				result <- outcome{most - before, err}
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() (int64, error) {
		close(done)
		o := <-result
		return o.more, o.err
	}, nil
}
