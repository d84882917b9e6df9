package registrar_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/registrar"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/registration"
)

const server = "hs.example"

// town is the names that exist.
type town struct {
	accounts []storage.NamedAccount
	aliases  []matrix.RoomAlias
	rooms    []matrix.RoomID
}

func (p town) Accounts(_ context.Context, after matrix.UserID, limit int) ([]storage.NamedAccount, error) {
	return page(p.accounts, limit, func(a storage.NamedAccount) bool { return a.User > after }), nil
}

func (p town) Aliases(_ context.Context, after matrix.RoomAlias, limit int) ([]matrix.RoomAlias, error) {
	return page(p.aliases, limit, func(a matrix.RoomAlias) bool { return a > after }), nil
}

func (p town) Rooms(_ context.Context, after matrix.RoomID, limit int) ([]matrix.RoomID, error) {
	return page(p.rooms, limit, func(r matrix.RoomID) bool { return r > after }), nil
}

func page[Row any](sorted []Row, limit int, later func(Row) bool) []Row {
	first := slices.IndexFunc(sorted, later)
	if first < 0 {
		return nil
	}
	return sorted[first:min(len(sorted), first+limit)]
}

// office is a registrar with a folder.
type office struct {
	*registrar.Service
	t        *testing.T
	folder   string
	registry *registration.Registry
	told     int   // how often a set was put in force
	deaf     error // what those who are told answer
}

func newOffice(t *testing.T, names town) *office {
	t.Helper()
	o := &office{t: t, folder: t.TempDir(), registry: registration.NewRegistry(emptySet(t))}
	o.Service = registrar.New(registrar.Options{
		ServerName: server, Folders: []string{o.folder}, Registry: o.registry, Names: names, Tokens: []string{"self-token"},
		InForce: func(context.Context) error { o.told++; return o.deaf },
		Now:     func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }, Log: slog.New(slog.DiscardHandler),
	})
	return o
}

func emptySet(t *testing.T) *registration.Set {
	t.Helper()
	set, err := registration.NewSet(server)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// file is a registration with expressions for users.
func file(id string, users ...string) []byte {
	text := "id: " + id + "\nurl: http://127.0.0.1:9\nas_token: " + strings.Repeat(id, 20) + "_as\nhs_token: " + strings.Repeat(id, 20) +
		"_hs\nsender_localpart: " + id + "bot\nnamespaces:\n  users:\n"
	for _, regex := range users {
		text += "    - {exclusive: true, regex: '" + regex + "'}\n"
	}
	if len(users) == 0 {
		text = strings.Replace(text, "  users:\n", "  users: []\n", 1)
	}
	return []byte(text)
}

func (o *office) add(data []byte) {
	o.t.Helper()
	if _, _, err := o.Add(o.t.Context(), "", data, false); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) files() []string {
	o.t.Helper()
	entries, err := os.ReadDir(o.folder)
	if err != nil {
		o.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCheckSaysWhatARegistrationWouldDo(t *testing.T) {
	o := newOffice(t, town{
		accounts: []storage.NamedAccount{{User: "@alice:hs.example"}, {User: "@irc_bob:hs.example", AppService: "irc"}, {User: "@ircbot:hs.example"}},
		aliases:  []matrix.RoomAlias{"#tea:hs.example"}, rooms: []matrix.RoomID{"!r:hs.example"},
	})
	o.add(file("irc", `@irc_.*:hs\.example`))
	for _, c := range []struct {
		name string
		data []byte
		ok   bool
		want string
	}{
		{"nothing wrong", file("tea", `@tea_.*:hs\.example`), true, ""},
		{"no YAML", []byte("id: ["), false, "line"},
		{"a taken token", []byte(strings.ReplaceAll(string(file("tea")), strings.Repeat("tea", 20)+"_as", strings.Repeat("irc", 20)+"_as")), false, "as_token"},
		{"a short token", []byte(strings.ReplaceAll(string(file("tea")), strings.Repeat("tea", 20)+"_hs", "short")), true, "can be guessed"},
		{"in the clear", []byte(strings.ReplaceAll(string(file("tea")), "127.0.0.1:9", "as.example.org")), true, "in the clear"},
		{"everybody", file("tea", `@.*:hs\.example`), true, "nobody else could make one"},
		{"nobody here", file("tea", `@tea_.*:other\.example`), true, "matches no user of this server"},
		{"not anchored", file("tea", `.*_tea:hs\.example`), true, "is not anchored"},
		{"names of another", file("tea", `@irc_b.*:hs\.example`), true, `Both this service and "irc" claim users such as @irc_b`},
		{"people", file("tea", `@al.*:hs\.example`), true, "1 of the users"},
		{"somebody's account as its own", []byte(strings.ReplaceAll(string(file("tea")), "teabot", "alice")), true, "is somebody's account already"},
		{"a dot that is none", file("tea", `@tea_.*:hs.example`), true, "stand for any character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, err := o.Check(t.Context(), "tea.yaml", c.data)
			if err != nil || report.Usable != c.ok {
				t.Fatalf("%+v, %v", report, err)
			}
			var texts []string
			for _, f := range report.Findings {
				texts = append(texts, f.Text)
			}
			if all := strings.Join(texts, "\n"); c.want != "line" && (c.want == "" && all != "" || !strings.Contains(all, c.want)) || c.want == "line" && all == "" {
				t.Errorf("want %q in\n%s", c.want, all)
			}
		})
	}
	if report, err := o.Check(t.Context(), "", file("irc", `@irc_.*:hs\.example`)); err != nil || !report.Replaces || len(report.Overlaps) != 0 ||
		len(report.Matches) != 1 || report.Matches[0].Count != 1 || report.Matches[0].Foreign != 0 {
		t.Errorf("its own successor: %+v, %v", report, err)
	}
}

// Expressions that are too large to be compared are not said to be apart.
func TestCheckOwnsUpToWhatItDoesNotKnow(t *testing.T) {
	o := newOffice(t, town{})
	o.add(file("irc", `@irc_(aa?){1,300}x:hs\.example`))
	report, err := o.Check(t.Context(), "", file("tea", `@irc_(aa?){1,300}y:hs\.example`))
	if err != nil || !report.Usable || len(report.Overlaps) != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	unknown := func(f registrar.Finding) bool {
		return strings.Contains(f.Text, "is not known") && strings.Contains(f.Text, `"irc"`)
	}
	if !slices.ContainsFunc(report.Findings, unknown) {
		t.Errorf("it says nothing of that: %+v", report.Findings)
	}
	spaces := registration.Namespaces{Users: []registration.Namespace{namespace(t, `@irc_(aa?){1,300}y:hs\.example`)}}
	_, err = o.Register(t.Context(), registrar.SelfRegistration{URL: "http://x/", ASToken: "self-token", Namespaces: spaces})
	if matrix.Code(err) != "M_FORBIDDEN" {
		t.Errorf("a service that registers itself with it: %v", err)
	}
}

func namespace(t *testing.T, regex string) registration.Namespace {
	t.Helper()
	n, err := registration.NewNamespace(regex, true)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestChangesAreInForceOrUndone(t *testing.T) {
	o := newOffice(t, town{})
	ctx := t.Context()
	o.add(file("irc"))
	if o.registry.Load().ByID("irc") == nil || o.told != 1 || !slices.Equal(o.files(), []string{"irc.yaml"}) {
		t.Fatalf("added: %v, told %d times", o.files(), o.told)
	}
	if _, _, err := o.Add(ctx, "", file("irc"), false); matrix.Code(err) != "M_INVALID_PARAM" {
		t.Errorf("added twice: %v", err)
	}
	if _, _, err := o.Add(ctx, "", []byte("x"), false); err == nil {
		t.Error("nonsense was added")
	} else if _, ok := errors.AsType[*registrar.AddError](err); !ok {
		t.Errorf("nonsense: %v", err)
	}
	if _, path, err := o.Add(ctx, "", file("irc", `@irc_.*`), true); err != nil || filepath.Base(path) != "irc.yaml" || len(o.registry.Load().ByID("irc").Namespaces.Users) != 1 {
		t.Errorf("replaced: %s, %v", path, err)
	}

	// A name that leads elsewhere stays in the folder.
	o.add([]byte(strings.Replace(string(file("tea")), "id: tea", "id: '../../tea'", 1)))
	if files := o.files(); len(files) != 2 || !slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, "tea.yaml") }) {
		t.Errorf("files: %v", files)
	}

	// What cannot be put in force is undone.
	o.deaf = errors.New("the database is away")
	before := o.files()
	if _, _, err := o.Add(ctx, "", file("milk"), false); !errors.Is(err, o.deaf) || !slices.Equal(o.files(), before) {
		t.Errorf("not in force: %v, %v", err, o.files())
	}
	if _, err := o.Remove(ctx, "irc"); !errors.Is(err, o.deaf) || !slices.Equal(o.files(), before) {
		t.Errorf("not removed: %v, %v", err, o.files())
	}
	o.deaf = nil
	if _, err := o.Reload(ctx); err != nil || o.registry.Load().ByID("milk") != nil || o.registry.Load().ByID("irc") == nil {
		t.Errorf("reloaded: %v", err)
	}

	kept, err := o.Remove(ctx, "irc")
	if err != nil || !strings.HasSuffix(kept, "irc.yaml.removed-20260102T030405Z") || o.registry.Load().ByID("irc") != nil {
		t.Errorf("removed: %s, %v", kept, err)
	}
	if _, err := o.Remove(ctx, "irc"); matrix.Code(err) != "M_NOT_FOUND" {
		t.Errorf("removed twice: %v", err)
	}
}

// A file that is wrong changes nothing for the others.
func TestReloadKeepsWhatIsGood(t *testing.T) {
	o := newOffice(t, town{})
	o.add(file("irc"))
	broken := filepath.Join(o.folder, "z.yaml")
	if err := os.WriteFile(broken, []byte("id: irc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Reload(t.Context()); err == nil || o.registry.Load().ByID("irc") == nil {
		t.Errorf("reloaded: %v", err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if changes, err := o.Reload(t.Context()); err != nil || len(changes) != 0 {
		t.Errorf("nothing has changed: %v, %v", changes, err)
	}
}

// What is in force and has not reached everybody is tried again, though no file
// is different.
func TestWhatHasNotReachedEverybody(t *testing.T) {
	o := newOffice(t, town{})
	o.add(file("irc"))
	path := filepath.Join(o.folder, "tea.yaml")
	if err := os.WriteFile(path, file("tea"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.deaf = errors.New("the database is away")
	if _, err := o.Reload(t.Context()); !errors.Is(err, o.deaf) || !o.Unfinished() {
		t.Errorf("reloaded: %v, unfinished: %v", err, o.Unfinished())
	}
	told := o.told
	o.deaf = nil
	if changes, err := o.Reload(t.Context()); err != nil || len(changes) != 0 || o.told != told+1 || o.Unfinished() {
		t.Errorf("%v, %v, told %d times, unfinished: %v", changes, err, o.told-told, o.Unfinished())
	}
}

func TestRotation(t *testing.T) {
	o := newOffice(t, town{})
	o.add(file("irc"))
	before := o.registry.Load().ByID("irc")
	rotated, err := o.Rotate(t.Context(), "irc", false, time.Hour)
	now := o.registry.Load().ByID("irc")
	if err != nil || rotated.ASToken == before.ASToken || rotated.HSToken != before.HSToken || now.ASToken != rotated.ASToken ||
		now.Previous.ASToken != before.ASToken || !rotated.Until.Equal(time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC)) {
		t.Errorf("%+v, %v", rotated, err)
	}
	for _, grace := range []time.Duration{-time.Second, 31 * 24 * time.Hour} {
		if _, err := o.Rotate(t.Context(), "irc", true, grace); matrix.Code(err) != "M_INVALID_PARAM" {
			t.Errorf("for %v: %v", grace, err)
		}
	}
	if _, err := o.Rotate(t.Context(), "tea", true, 0); matrix.Code(err) != "M_NOT_FOUND" {
		t.Errorf("nobody's: %v", err)
	}
}

// Without a server the files change, and nothing is in force.
func TestOffline(t *testing.T) {
	o, folder := newOffice(t, town{}), filepath.Join(t.TempDir(), "other")
	o.Offline([]string{folder})
	o.add(file("irc"))
	if _, err := os.Stat(filepath.Join(folder, "irc.yaml")); err != nil || o.told != 0 || o.registry.Load().ByID("irc") != nil {
		t.Errorf("told %d times, %v", o.told, err)
	}
}
