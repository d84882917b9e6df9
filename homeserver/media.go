package homeserver

import (
	"path/filepath"

	"trestle/homeserver/media"
	"trestle/homeserver/media/picture"
	"trestle/homeserver/media/s3"
	"trestle/homeserver/storage"
)

// mediaFiles is the folder for media, or the bucket.
func (s *Server) mediaFiles() (media.Files, error) {
	o := s.cfg.Media.S3
	if o.Endpoint == "" {
		return media.NewFolder(s.cfg.Media.Path)
	}
	return s3.New(s3.Options{
		Endpoint: o.Endpoint, Bucket: o.Bucket, Prefix: o.Prefix, Region: o.Region,
		AccessKey: o.AccessKey, SecretKey: o.SecretKey.Reveal(), PathStyle: o.PathStyle,
		Spool: filepath.Join(s.cfg.Media.Path, "incoming"),
	})
}

// newMedia makes the content repository.
func (s *Server) newMedia() (*media.Service, error) {
	files, err := s.mediaFiles()
	if err != nil {
		return nil, err
	}
	options := media.Options{
		ServerName: s.cfg.ServerName, DB: s.db, Store: storage.NewMedia(s.db), Files: files, Log: s.log,
		MaxUpload: int64(s.cfg.Media.MaxUpload), MaxPerUser: int64(s.cfg.Media.MaxPerUser), MaxPixels: s.cfg.Media.MaxPixels,
		MaxFetched:           int64(s.cfg.Media.Previews.MaxKept),
		MaxRemote:            int64(s.cfg.Media.MaxRemote),
		AllowUnauthenticated: s.cfg.Media.AllowUnauthenticated,
		Remote:               s.peers.media(),
	}
	for _, size := range s.cfg.Media.Thumbnails {
		options.Thumbnails = append(options.Thumbnails, picture.Size{
			Width: size.Width, Height: size.Height, Method: picture.Method(size.Method),
		})
	}
	return media.New(options), nil
}
