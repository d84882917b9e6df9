package irc

import (
	"errors"
	"io"
	"slices"

	"maunium.net/go/mautrix/event"

	"trestle/bridges/bridge"
	"trestle/bridges/encryption"
)

// encryption is what takes part in encrypted rooms, nil if that is switched off for all networks,
// or the keys cannot be had: then the bridge works on, and says so in such rooms.
func (s *Service) encryption(networks []Network) *encryption.Service {
	wanted := slices.ContainsFunc(networks, func(n Network) bool { return n.Encryption != string(bridge.EncryptionOff) })
	if !wanted {
		return nil
	}
	options := encryption.Options{Client: s.api, DB: s.db, Name: "IRC bridge", Logger: s.log, Patience: s.config.KeyPatience}
	if s.accounts.vault != nil {
		options.Vault = s.accounts.vault
	}
	service, err := encryption.New(s.ctx, options)
	if err != nil {
		s.log.Error("the bridge cannot take part in encrypted rooms", "err", err)
		return nil
	}
	s.encrypts = true
	return service
}

// encryptionChanged has the bridge take part in encrypted rooms as the networks want it now.
func (s *Service) encryptionChanged(networks []Network) {
	if !s.encrypts {
		if service := s.encryption(networks); service != nil {
			s.bridge.TakePart(service)
		}
	}
	s.bridge.AttendAll()
}

// Encryption implements bridge.Encrypts.
func (s *Service) Encryption(network string) bridge.Encryption {
	if n := s.network(network); n != nil {
		return bridge.Encryption(n.now().Encryption)
	}
	return bridge.EncryptionOff
}

// fileOf is where a message's own file is; empty if it has none.
func fileOf(content *event.MessageEventContent) string {
	if content.File != nil {
		return string(content.File.URL)
	}
	return string(content.URL)
}

// opened is a message's file, and of which kind it is, without encryption. Reading fails at the
// end if it is not the one that was sent.
func opened(content *event.MessageEventContent, kind string, body io.Reader) (string, io.Reader, error) {
	if content.File == nil {
		return kind, body, nil
	}
	file := content.File.EncryptedFile
	if err := file.PrepareForDecryption(); err != nil {
		return "", nil, err
	}
	kind = ""
	if content.Info != nil {
		kind = content.Info.MimeType
	}
	return kind, &verified{file.DecryptStream(onlyReader{body})}, nil
}

// onlyReader keeps others from closing what is read.
type onlyReader struct{ io.Reader }

// verified compares a file at its end with what its sender has said of it.
type verified struct{ io.ReadSeekCloser }

func (v *verified) Read(dst []byte) (int, error) {
	n, err := v.ReadSeekCloser.Read(dst)
	if errors.Is(err, io.EOF) {
		if err = v.Close(); err == nil {
			err = io.EOF
		}
	}
	return n, err
}
