package homeserver

import (
	"trestle/homeserver/media"
	"trestle/homeserver/media/picture"
	"trestle/homeserver/storage"
)

// newMedia opens the folder for media.
func (s *Server) newMedia() (*media.Service, error) {
	files, err := media.NewFolder(s.cfg.Media.Path)
	if err != nil {
		return nil, err
	}
	options := media.Options{
		ServerName: s.cfg.ServerName, DB: s.db, Store: storage.NewMedia(s.db), Files: files, Log: s.log,
		MaxUpload: int64(s.cfg.Media.MaxUpload), MaxPixels: s.cfg.Media.MaxPixels,
		AllowUnauthenticated: s.cfg.Media.AllowUnauthenticated,
	}
	for _, size := range s.cfg.Media.Thumbnails {
		options.Thumbnails = append(options.Thumbnails, picture.Size{
			Width: size.Width, Height: size.Height, Method: picture.Method(size.Method),
		})
	}
	return media.New(options), nil
}
