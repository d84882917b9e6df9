package registrar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trestle/internal/matrix"
	"trestle/registration"
)

// maxRegistration is how large a registration may be that comes over HTTP.
const maxRegistration = 1 << 20

// maxGrace is how long the tokens from before a rotation may stay good.
const maxGrace = 30 * 24 * time.Hour

// An AddError is a registration that cannot be put in force.
type AddError struct{ Report *Report }

// Error joins what is wrong.
func (e *AddError) Error() string {
	var texts []string
	for _, f := range e.Report.Findings {
		if f.Level == Error {
			texts = append(texts, f.Text)
		}
	}
	return strings.Join(texts, " ")
}

// Add checks a registration and puts it in force, in place of the one that has
// the same ID if replacing is wanted. Its file is named by the ID.
func (s *Service) Add(ctx context.Context, file string, data []byte, replace bool) (*Report, string, error) {
	if len(data) > maxRegistration {
		return nil, "", matrix.TooLarge("A registration that is added may have %d bytes.", maxRegistration)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	report, reg, err := s.check(ctx, file, data)
	if err != nil {
		return nil, "", err
	}
	if !report.Usable {
		return nil, "", &AddError{report}
	}
	path, err := s.fileOf(reg.ID)
	switch {
	case err != nil:
		return nil, "", err
	case path != "" && !replace:
		return nil, "", matrix.InvalidParam("There is an application service %q already, in %s.", reg.ID, path)
	case path == "":
		if path, err = s.newFile(reg.ID); err != nil {
			return nil, "", err
		}
	}
	return report, path, s.put(ctx, path, data)
}

// put writes a file and puts it in force, or undoes that.
func (s *Service) put(ctx context.Context, path string, data []byte) error {
	undo, err := replaceFile(path, data)
	if err != nil {
		return err
	}
	if _, err := s.reload(ctx); err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

// fileOf is where a service's registration is, or empty.
func (s *Service) fileOf(id string) (string, error) {
	regs, err := readFolders(s.options.Folders)
	if err != nil {
		return "", matrix.InvalidParam("Nothing can be changed while a registration cannot be read: %s", err)
	}
	for _, r := range regs {
		if r.ID == id {
			return r.File, nil
		}
	}
	return "", nil
}

func (s *Service) mustFile(id string) (string, error) {
	path, err := s.fileOf(id)
	if err == nil && path == "" {
		err = matrix.NotFound("There is no application service %q.", id)
	}
	return path, err
}

// newFile is a name for the file of a service.
func (s *Service) newFile(id string) (string, error) {
	if len(s.options.Folders) == 0 {
		return "", matrix.InvalidParam("The configuration names no folder for registrations (appservices).")
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, id)
	name = strings.TrimLeft(name[:min(len(name), 100)], ".-")
	if name == "" {
		name = "appservice"
	}
	for i := 1; i < 1000; i++ {
		path := filepath.Join(s.options.Folders[0], name+".yaml")
		if i > 1 {
			path = filepath.Join(s.options.Folders[0], fmt.Sprintf("%s-%d.yaml", name, i))
		}
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return path, nil
		}
	}
	return "", matrix.InvalidParam("There are too many files with the name %s.", name)
}

// replaceFile writes a file for its owner alone, whole and at once. undo puts
// back what was there.
func replaceFile(path string, data []byte) (undo func() error, err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	before, err := os.ReadFile(path)
	switch {
	case err == nil:
		undo = func() error { return registration.WriteFile(path, before) }
	case errors.Is(err, os.ErrNotExist):
		undo = func() error { return os.Remove(path) }
	default:
		return nil, err
	}
	return undo, registration.WriteFile(path, data)
}

// Remove takes a registration out of force. Its file gets another name, which
// is returned: nothing that the service has made goes away.
func (s *Service) Remove(ctx context.Context, id string) (kept string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.mustFile(id)
	if err != nil {
		return "", err
	}
	kept = path + ".removed-" + s.options.Now().UTC().Format("20060102T150405Z")
	if err := os.Rename(path, kept); err != nil {
		return "", err
	}
	if _, err := s.reload(ctx); err != nil {
		return "", errors.Join(err, os.Rename(kept, path))
	}
	return kept, nil
}

// A Rotated service has other tokens.
type Rotated struct {
	ASToken, HSToken string // the tokens of now
	File             string
	Until            time.Time // until then those from before are good
}

// Rotate gives a service another as_token, and another hs_token if that is
// wanted; the ones before are good for a while.
func (s *Service) Rotate(ctx context.Context, id string, hsToken bool, grace time.Duration) (*Rotated, error) {
	if grace < 0 || grace > maxGrace {
		return nil, matrix.InvalidParam("Tokens from before may be good for up to %d days.", int(maxGrace/(24*time.Hour)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.mustFile(id)
	if err != nil {
		return nil, err
	}
	// The file has whole seconds.
	rotation := registration.Rotation{ASToken: registration.NewToken(), Until: s.options.Now().Add(grace).Truncate(time.Second)}
	if hsToken {
		rotation.HSToken = registration.NewToken()
	}
	if grace == 0 {
		rotation.Until = time.Time{}
	}
	reg, err := registration.RotateFile(path, rotation)
	if err != nil {
		return nil, err
	}
	if _, err := s.reload(ctx); err != nil {
		return nil, err
	}
	return &Rotated{reg.ASToken, reg.HSToken, path, rotation.Until}, nil
}
