package walkthrough_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	named    = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)`")
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)\(`)
)

// TestGuaranteesHaveTests looks for the tests that pages name, and for a test in each line of what a
// network's staff can rely on.
func TestGuaranteesHaveTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	known := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(text, -1) {
			known[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllSubmatch(page, -1) {
			if !known[string(match[1])] {
				t.Errorf("%s names %s, which there is not", filepath.Base(path), match[1])
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "irc.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## What staff can rely on\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, rows, _ := strings.Cut(section, "\n|---|---|\n")
	lines := strings.Split(strings.TrimSpace(rows), "\n")
	if len(lines) < 20 {
		t.Errorf("there are %d guarantees", len(lines))
	}
	for _, line := range lines {
		if !named.MatchString(line) {
			t.Errorf("nothing shows %q", line)
		}
	}
}
