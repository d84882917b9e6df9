package homeserver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Files are read when somebody has done with them, each time once; what is no
// registration is nobody's business.
func TestFilesAreReadAtRest(t *testing.T) {
	folder, elsewhere := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tea := filepath.Join(folder, "tea.yaml")
	write(tea, "a")
	w := newWatch([]string{folder, filepath.Join(folder, "none")})
	want := func(what string, looks ...bool) {
		t.Helper()
		for i, want := range looks {
			if got := w.changed(); got != want {
				t.Errorf("%s: look %d says %v", what, i, got)
			}
		}
	}
	want("nothing", false, false)
	write(tea, "ab")
	want("the first half", false)
	write(tea, "abc")
	want("the whole", false, true, false, false)
	write(filepath.Join(folder, ".tea.yaml"), "x")
	write(filepath.Join(folder, "tea.db"), "x")
	want("others' files", false, false)

	// As volumes with configuration have it: links to what is exchanged at once.
	one, two, link := filepath.Join(elsewhere, "one"), filepath.Join(elsewhere, "two"), filepath.Join(elsewhere, "now")
	write(one, "1")
	write(two, "22")
	for _, err := range []error{os.Symlink(one, link), os.Symlink(link, filepath.Join(folder, "linked.yml"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want("a link", false, true, false)
	if err := os.Symlink(two, link+"2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+"2", link); err != nil {
		t.Fatal(err)
	}
	want("what is behind the link", false, true, false)
	if err := os.Remove(tea); err != nil {
		t.Fatal(err)
	}
	want("a file that is gone", false, true, false)

	told := 0
	for i := range 2 * watchPatience {
		write(tea, fmt.Sprint(1<<i))
		write(tea, string(make([]byte, i)))
		if w.changed() {
			told++
		}
	}
	if told == 0 || told > 3 {
		t.Errorf("files that never rest were read %d times", told)
	}
}
