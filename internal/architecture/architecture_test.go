package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A listed package, as go list has it.
type listed struct {
	Dir        string
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
}

// path is the import path inside of the module.
func (p listed) path() string { return strings.TrimPrefix(p.ImportPath, "trestle/") }

func packages(t *testing.T) []listed {
	t.Helper()
	list := exec.Command("go", "list", "-json", "trestle/...")
	var errs bytes.Buffer
	list.Stderr = &errs
	output, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.String())
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 15 {
		t.Fatalf("go list knows only %d packages", len(all))
	}
	return all
}

// in says whether a path is one of the patterns: a package, "x/..." with all
// below it, "x/*" for what is directly below, or "..." for everything.
func in(path string, patterns ...string) bool {
	for _, pattern := range patterns {
		if pattern == "..." {
			return true
		}
		if root, ok := strings.CutSuffix(pattern, "/..."); ok {
			if path == root || strings.HasPrefix(path, root+"/") {
				return true
			}
		} else if ok, err := filepath.Match(pattern, path); err == nil && ok {
			return true
		}
	}
	return false
}

// A rule says which imports a set of packages may not have.
type rule struct {
	name   string
	of     []string // packages it is about
	except []string // of these
	never  []string // what they do not import
	but    []string // of these
}

var services = []string{
	"homeserver/accounts", "homeserver/rooms", "homeserver/syncer", "homeserver/notifier", "homeserver/federation",
	"homeserver/encryption", "homeserver/push", "homeserver/ephemeral", "homeserver/media", "homeserver/media/...",
	"homeserver/mail", "homeserver/identity", "homeserver/notices", "homeserver/oauth", "homeserver/relations",
	"homeserver/delayed", "homeserver/turn", "homeserver/invites",
	"homeserver/unread", "homeserver/pushers", "homeserver/outbox",
	"homeserver/sso", "homeserver/registrar", "homeserver/console/record", "homeserver/browsers", "homeserver/ledger",
}

var rules = []rule{
	{
		name:  "what speaks HTTP asks services, and never the database",
		of:    []string{"homeserver/*api", "homeserver/console"},
		never: []string{"trestle/homeserver/storage/...", "trestle/internal/database/...", "trestle/migrations/...", "database/sql", "github.com/jackc/..."},
	},
	{
		name:   "only the HTTP adapter knows gin",
		of:     []string{"..."},
		except: []string{"homeserver/api"},
		never:  []string{"github.com/gin-gonic/..."},
	},
	{
		name:  "services know nothing of the APIs above them, nor of who wires them",
		of:    services,
		never: []string{"trestle/homeserver", "trestle/homeserver/*api", "trestle/homeserver/console", "trestle/appservice/sender", "trestle/bridges/..."},
	},
	{
		name:  "rooms writes, and knows none of its readers",
		of:    []string{"homeserver/rooms"},
		never: []string{"trestle/homeserver/..."},
		but:   []string{"trestle/homeserver/storage/..."},
	},
	{
		name:  "storage has nobody above it, and no HTTP",
		of:    []string{"homeserver/storage/..."},
		never: []string{"trestle/...", "net/http"},
		but:   []string{"trestle/homeserver/storage/...", "trestle/internal/...", "trestle/migrations", "trestle/appservice", "trestle/registration"},
	},
	{
		name:   "engines are the business of one package",
		of:     []string{"..."},
		except: []string{"internal/database", "internal/testkit"},
		never:  []string{"database/sql", "database/sql/driver", "github.com/jackc/...", "modernc.org/..."},
	},
	{
		name:  "the sender could serve any homeserver",
		of:    []string{"appservice/sender"},
		never: []string{"trestle/homeserver/...", "trestle/bridges/...", "trestle/appservice/client"},
	},
	{
		name:  "an application service sees the homeserver over HTTP only",
		of:    []string{"appservice/client/...", "appservice/dev", "bridges/..."},
		never: []string{"trestle/homeserver/...", "trestle/appservice/sender/..."},
	},
	{
		name:  "what both ends share knows neither",
		of:    []string{"appservice", "registration"},
		never: []string{"trestle/..."},
		but:   []string{"trestle/internal/matrix/...", "trestle/internal/lru", "trestle/appservice", "trestle/registration"},
	},
	{
		name:   "internal packages are below all others",
		of:     []string{"internal/..."},
		except: []string{"internal/testkit/...", "internal/bench/..."},
		never:  []string{"trestle/..."},
		but:    []string{"trestle/internal/...", "trestle/configs", "trestle/migrations/..."},
	},
	{
		name:  "the vocabulary does no I/O",
		of:    []string{"internal/matrix/..."},
		never: []string{"os", "os/exec", "io/fs", "database/sql", "log", "log/slog", "trestle/..."},
		but:   []string{"trestle/internal/matrix/..."},
	},
	{
		name:  "decisions are pure: no network, no clock, no chance",
		of:    []string{"internal/matrix/roomversion", "internal/matrix/eventauth", "internal/matrix/stateres"},
		never: []string{"net", "net/http", "os", "time", "math/rand", "math/rand/v2", "crypto/rand"},
	},
	{
		name:  "room versions are a table",
		of:    []string{"internal/matrix/roomversion"},
		never: []string{"trestle/..."},
	},
	{
		name:   "the Matrix client library is for clients",
		of:     []string{"..."},
		except: []string{"appservice/client/...", "bridges/...", "internal/testkit/...", "internal/bench/..."},
		never:  []string{"maunium.net/..."},
	},
	{
		name:  "another homeserver's library judges ours in tests, and runs in nothing",
		of:    []string{"..."},
		never: []string{"github.com/matrix-org/gomatrixserverlib/..."},
	},
	{
		name:   "test helpers stay in tests",
		of:     []string{"..."},
		except: []string{"internal/testkit/...", "internal/bench/...", "bridges/bridge/bridgetest"},
		never:  []string{"trestle/internal/testkit/...", "testing"},
	},
	{
		name:   "only the command is a program",
		of:     []string{"..."},
		except: []string{"cmd/..."},
		never:  []string{"trestle/cmd/...", "github.com/spf13/..."},
	},
}

// broken are the imports of a package that a rule forbids.
func (r rule) broken(p listed) []string {
	if !in(p.path(), r.of...) || in(p.path(), r.except...) {
		return nil
	}
	var bad []string
	for _, path := range p.Imports {
		if in(path, r.never...) && !in(path, r.but...) {
			bad = append(bad, path)
		}
	}
	return bad
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		for _, r := range rules {
			for _, path := range r.broken(p) {
				t.Errorf("%s imports %s: %s", p.path(), path, r.name)
			}
		}
	}
}

// The rules are able to fail.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		path, imports string
		broken        bool
	}{
		{"homeserver/clientapi", "trestle/homeserver/storage", true},
		{"homeserver/clientapi", "trestle/homeserver/rooms", false},
		{"homeserver/api", "github.com/gin-gonic/gin", false},
		{"homeserver/clientapi", "github.com/gin-gonic/gin", true},
		{"homeserver/rooms", "github.com/gin-gonic/gin/binding", true},
		{"homeserver/rooms", "trestle/homeserver/notifier", true},
		{"homeserver/rooms", "trestle/homeserver/storage/statetree", false},
		{"homeserver/push", "trestle/homeserver/rooms", false},
		{"homeserver/push", "trestle/homeserver", true},
		{"homeserver/storage", "trestle/homeserver/rooms", true},
		{"homeserver/storage/statetree", "net/http", true},
		{"homeserver", "trestle/homeserver/clientapi", false},
		{"homeserver/rooms", "github.com/jackc/pgx/v5", true},
		{"appservice/sender", "trestle/homeserver/storage", true},
		{"appservice/sender", "trestle/appservice", false},
		{"bridges/irc/wire", "trestle/homeserver", true},
		{"bridges/irc", "trestle/appservice/client", false},
		{"bridges/irc", "maunium.net/go/mautrix/format", false},
		{"homeserver/rooms", "maunium.net/go/mautrix", true},
		{"internal/matrix", "trestle/internal/config", true},
		{"internal/matrix", "os", true},
		{"internal/matrix/eventauth", "time", true},
		{"internal/config", "trestle/registration", true},
		{"internal/config", "trestle/configs", false},
		{"registration", "trestle/homeserver", true},
		{"homeserver/rooms", "trestle/internal/testkit", true},
		{"homeserver/rooms", "github.com/matrix-org/gomatrixserverlib", true},
		{"homeserver", "trestle/cmd/trestle", true},
	} {
		found := false
		for _, r := range rules {
			found = found || len(r.broken(listed{ImportPath: "trestle/" + c.path, Imports: []string{c.imports}})) > 0
		}
		if found != c.broken {
			t.Errorf("%s importing %s: broken is %v, not %v", c.path, c.imports, found, c.broken)
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + filepath.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s does not begin with %q: %q", p.path(), want, p.Doc)
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "manager", "impl", "misc", "shared"}, p.Name) {
			t.Errorf("%s: %q says nothing about what is inside", p.path(), p.Name)
		}
		if p.Name != "main" && p.Name != filepath.Base(p.ImportPath) {
			t.Errorf("%s is called %s", p.path(), p.Name)
		}
	}
}

// SQL stands where tables are known: beside the methods of storage, and of
// those who keep tables of their own.
func TestStatementsAreInStorage(t *testing.T) {
	allowed := []string{"homeserver/storage/...", "internal/database/...", "internal/testkit/...", "appservice/client/...", "bridges/..."}
	for _, p := range packages(t) {
		if in(p.path(), allowed...) || !slices.Contains(p.Imports, "trestle/internal/database") {
			continue
		}
		for _, name := range p.GoFiles {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.SelectorExpr)
				if !ok || call.Sel.Name != "SQL" {
					return true
				}
				if from, ok := call.X.(*ast.Ident); ok && from.Name == "database" {
					t.Errorf("%s: a statement outside of storage", files.Position(n.Pos()))
				}
				return true
			})
		}
	}
}
