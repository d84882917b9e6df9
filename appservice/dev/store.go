package dev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
)

const (
	ending      = ".json"
	maxFileName = 200
	// forOne is how long one transaction may take that is sent again.
	forOne = time.Minute
)

// A Store is a folder with transactions, each in a file of its own, as it came:
// 000001.ID.json, with the ID escaped as in URLs.
type Store struct {
	folder string

	mu     sync.Mutex
	files  map[string]string // name by transaction ID
	number int               // of the newest file
}

// OpenStore reads which transactions are there, and makes the folder if need be.
func OpenStore(folder string) (*Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	s := &Store{folder: folder, files: map[string]string{}}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		number, id, _ := parseName(name)
		s.files[id], s.number = name, max(s.number, number)
	}
	return s, nil
}

// names is the files with transactions, in order.
func (s *Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.folder)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if _, _, ok := parseName(entry.Name()); ok && entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		first, _, _ := parseName(a)
		second, _, _ := parseName(b)
		return first - second
	})
	return names, nil
}

func parseName(name string) (number int, id string, ok bool) {
	rest, ok := strings.CutSuffix(name, ending)
	if !ok {
		return 0, "", false
	}
	digits, escaped, ok := strings.Cut(rest, ".")
	number, err := strconv.Atoi(digits)
	if !ok || err != nil || number < 1 {
		return 0, "", false
	}
	id, err = url.PathUnescape(escaped)
	return number, id, err == nil && id != ""
}

// Keep stores a transaction unless it is there already, and returns its file.
func (s *Store) Keep(id string, body []byte) (file string, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := s.files[id]; ok {
		return filepath.Join(s.folder, name), false, nil
	}
	name := fmt.Sprintf("%06d.%s%s", s.number+1, url.PathEscape(id), ending)
	if len(name) > maxFileName {
		return "", false, matrix.InvalidParam("The ID of the transaction is too long.")
	}
	path := filepath.Join(s.folder, name)
	if err := writeWhole(path, body); err != nil {
		return "", false, err
	}
	s.files[id], s.number = name, s.number+1
	return path, true, nil
}

func writeWhole(path string, body []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".transaction-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(body)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// Replay sends all transactions, in the order in which they came and with the
// bytes and IDs that they had, to another address of a service. It ends at the
// first that is refused.
func (s *Store) Replay(ctx context.Context, to, hsToken string, out io.Writer) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: forOne}
	defer client.CloseIdleConnections()
	for _, name := range names {
		body, err := os.ReadFile(filepath.Join(s.folder, name))
		if err != nil {
			return err
		}
		_, id, _ := parseName(name)
		status, err := put(ctx, client, strings.TrimRight(to, "/")+appservice.TransactionPath(id).Stable, hsToken, body)
		if err != nil {
			return fmt.Errorf("send %s: %w", name, err)
		}
		if status/100 != 2 {
			return fmt.Errorf("%s was answered with status %d", name, status)
		}
		fmt.Fprintf(out, "%s: %d\n", name, status)
	}
	_, err = fmt.Fprintf(out, "Sent: %d.\n", len(names))
	return err
}

func put(ctx context.Context, client *http.Client, address, hsToken string, body []byte) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+hsToken)
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, errors.Join(err, response.Body.Close())
}
