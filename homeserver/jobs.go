package homeserver

import (
	"context"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// jobs runs what has to be done from time to time, until ctx ends. A run that
// is due while the one before still works is left out.
func (s *Server) jobs(ctx context.Context) error {
	schedule := cron.New(cron.WithLocation(time.UTC), cron.WithChain(cron.SkipIfStillRunning(cron.DiscardLogger)))
	for _, job := range []struct {
		when string
		name string
		do   func(context.Context) error
	}{
		{"@every 1s", "read registrations that have changed", s.followRegistrations},
		{"@every 1m", "forget idle clients", s.sweep},
		{"@every 1m", "note how deliveries stand", s.sampleDeliveries},
		{"@hourly", "delete old messages to devices", s.encryption.Tidy},
		{"@hourly", "delete what accounts do not need any more", s.accounts.Tidy},
		{"@hourly", "forget what became of delayed events", s.delayed.Tidy},
		{"@hourly", "forget applications that nobody uses", s.tidyOAuth},
		{"@hourly", "forget previews of pages", s.tidyPreviews},
		{"@hourly", "forget the keys of strangers", s.peers.tidy},
		{"@hourly", "forget who has signed in to the console", s.record.Tidy},
		{"10 3 * * *", "delete old notifications", s.unread.Tidy},
		{"20 3 * * *", "forget what operators did long ago", s.ledger.Tidy},
		{"30 3 * * *", "delete media that nobody asks for", s.expireMedia},
	} {
		_, err := schedule.AddFunc(job.when, func() {
			if err := job.do(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "a job has to be done again later", "job", job.name, "err", err)
			}
		})
		if err != nil {
			return fmt.Errorf("schedule %q: %w", job.name, err)
		}
	}
	schedule.Start()
	<-ctx.Done()
	<-schedule.Stop().Done()
	return nil
}

func (s *Server) sweep(context.Context) error {
	s.notifier.Sweep(time.Now())
	return nil
}
