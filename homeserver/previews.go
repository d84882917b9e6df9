package homeserver

import (
	"context"
	"errors"
	"net/url"

	"trestle/homeserver/clientapi"
	"trestle/homeserver/media"
	"trestle/homeserver/media/preview"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/outbound"
)

// maxPreviewRedirects is how many redirects lead to a page.
const maxPreviewRedirects = 5

// newPreviews makes the service for previews of pages, nil if it is off.
func (s *Server) newPreviews() *preview.Service {
	p := s.cfg.Media.Previews
	if !p.Enabled {
		return nil
	}
	guard := outbound.New(outbound.Options{
		Allow: config.Ranges(p.AllowAddresses), Deny: config.Ranges(p.DenyAddresses), Ports: p.Ports,
		Redirects: maxPreviewRedirects, Timeout: p.Timeout.Std(),
		Check: func(u *url.URL) error {
			host := u.Hostname()
			if config.MatchHost(p.DenyHosts, host) || len(p.AllowHosts) > 0 && !config.MatchHost(p.AllowHosts, host) {
				return outbound.ErrRefused
			}
			return nil
		},
	})
	return preview.New(preview.Options{
		DB: s.db, Store: storage.NewPreviews(s.db), Guard: guard, Media: s.media, Log: s.log,
		MaxPage: int64(p.MaxPage), MaxImage: min(int64(p.MaxImage), s.media.MaxUpload()), MaxPixels: s.cfg.Media.MaxPixels,
		Timeout: p.Timeout.Std(), Lifetime: p.Lifetime.Std(), Language: p.Language,
	})
}

// clientPreviews is the service as the API wants it: nil if it is off.
func (s *Server) clientPreviews() clientapi.Previews {
	if s.previews == nil {
		return nil
	}
	return s.previews
}

func (s *Server) tidyPreviews(ctx context.Context) error {
	if s.previews == nil {
		return nil
	}
	return errors.Join(s.previews.Tidy(ctx), s.media.TrimFetched(ctx))
}

func (s *Server) expireMedia(ctx context.Context) error {
	r := s.cfg.Media.Retention
	if err := s.media.TrimRemote(ctx); err != nil {
		return err
	}
	return s.media.Expire(ctx, media.Retention{Local: r.Local.Std(), Remote: r.Remote.Std(), Previews: r.Previews.Std()})
}
