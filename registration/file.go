package registration

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// LoadFile reads one registration file. What is none, such as a pipe, which nobody
// may ever write to, is a [Problem].
func LoadFile(path string) (*Registration, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &Problem{File: path, Message: "This is no regular file."}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read registration %s: %w", path, err)
	}
	return Parse(path, data)
}

// IsFileName reports whether a file of this name in a folder of registrations is one:
// *.yaml or *.yml, and not hidden.
func IsFileName(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml")
}

// LoadDir reads every registration of a directory in the order of their names. The error joins what is wrong with each.
func LoadDir(dir string) ([]*Registration, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var regs []*Registration
	var problems []error
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || !IsFileName(name) {
			continue
		}
		reg, err := LoadFile(filepath.Join(dir, name))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		regs = append(regs, reg)
	}
	return regs, errors.Join(problems...)
}

// Generate makes a registration with fresh tokens and no namespaces.
func Generate(id, url, senderLocalpart string) *Registration {
	return &Registration{
		ID: id, URL: strings.TrimRight(url, "/"), SenderLocalpart: senderLocalpart,
		ASToken: NewToken(), HSToken: NewToken(), QueryToken: QueryTokenAuto,
	}
}

// NewToken is a random token of 256 bits.
func NewToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}

// form is the file in the order in which people expect its keys.
type form struct {
	ID               string     `yaml:"id"`
	URL              *string    `yaml:"url"`
	ASToken          string     `yaml:"as_token"`
	HSToken          string     `yaml:"hs_token"`
	SenderLocalpart  string     `yaml:"sender_localpart"`
	RateLimited      bool       `yaml:"rate_limited"`
	ReceiveEphemeral bool       `yaml:"receive_ephemeral,omitempty"`
	PushEphemeral    bool       `yaml:"de.sorunome.msc2409.push_ephemeral,omitempty"`
	DeviceLists      bool       `yaml:"org.matrix.msc3202,omitempty"`
	DeviceManagement bool       `yaml:"io.element.msc4190,omitempty"`
	QueryToken       QueryToken `yaml:"trestle.query_token,omitempty"`
	Previous         *formOld   `yaml:"trestle.previous_tokens,omitempty"`
	Protocols        []string   `yaml:"protocols,omitempty"`
	Namespaces       struct {
		Users   []formSpace `yaml:"users"`
		Aliases []formSpace `yaml:"aliases"`
		Rooms   []formSpace `yaml:"rooms"`
	} `yaml:"namespaces"`
}

type formOld struct {
	ASToken string `yaml:"as_token,omitempty"`
	HSToken string `yaml:"hs_token,omitempty"`
	Until   string `yaml:"until"`
}

type formSpace struct {
	Exclusive bool   `yaml:"exclusive"`
	Regex     string `yaml:"regex"`
}

// Marshal is the content of the registration's file. It is checked by reading
// it back, so that what is written can be loaded.
func (r *Registration) Marshal() ([]byte, error) {
	f := form{
		ID: r.ID, ASToken: r.ASToken, HSToken: r.HSToken, SenderLocalpart: r.SenderLocalpart,
		RateLimited: r.RateLimited, ReceiveEphemeral: r.ReceiveEphemeral, PushEphemeral: r.PushEphemeral,
		DeviceLists: r.DeviceLists, DeviceManagement: r.DeviceManagement, Protocols: r.Protocols,
	}
	if r.URL != "" {
		f.URL = &r.URL
	}
	if r.QueryToken != QueryTokenAuto {
		f.QueryToken = r.QueryToken
	}
	if old := r.Previous; !old.Until.IsZero() {
		f.Previous = &formOld{old.ASToken, old.HSToken, old.Until.Format(time.RFC3339)}
	}
	f.Namespaces.Users = formSpaces(r.Namespaces.Users)
	f.Namespaces.Aliases = formSpaces(r.Namespaces.Aliases)
	f.Namespaces.Rooms = formSpaces(r.Namespaces.Rooms)
	data, err := yaml.Marshal(&f)
	if err != nil {
		return nil, err
	}
	if _, err := Parse("", data); err != nil {
		return nil, fmt.Errorf("the registration %q is not valid: %w", r.ID, err)
	}
	return data, nil
}

func formSpaces(spaces []Namespace) []formSpace {
	list := []formSpace{}
	for _, space := range spaces {
		list = append(list, formSpace{space.Exclusive, space.Regex})
	}
	return list
}

// Write puts the file in place at once and whole, readable by its owner alone,
// since it holds secrets.
func (r *Registration) Write(path string) error {
	data, err := r.Marshal()
	if err != nil {
		return err
	}
	return WriteFile(path, data)
}

// WriteFile writes a file whole and at once, for its owner alone.
func WriteFile(path string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".registration-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(0o600), temp.Sync(), temp.Close())
	if err != nil {
		return fmt.Errorf("write registration %s: %w", path, err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes names durable: tokens that somebody has been told of must not be
// others after a power cut.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
