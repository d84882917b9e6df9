package config_test

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"trestle/internal/config"
)

// load writes a configuration file and loads it with flags and environment.
// "$dir" stands for the folder.
func load(t *testing.T, file string, env []string, args ...string) (*config.Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, filepath.Join(dir, "etc", "trestle.yaml"), strings.ReplaceAll(file, "$dir", dir))
	for i := range env {
		env[i] = strings.ReplaceAll(env[i], "$dir", dir)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$dir", dir)
	}
	flags := parseFlags(t, append([]string{"--config", "etc/trestle.yaml"}, args...)...)
	c, err := config.Load(config.Source{Flags: flags, Environ: env})
	return c, dir, err
}

func parseFlags(t *testing.T, args ...string) *config.Flags {
	t.Helper()
	set := flag.NewFlagSet("trestle", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	flags := config.AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPrecedence(t *testing.T) {
	file := "server_name: file\nlisten: [':1']\nlogging: {level: debug, format: json}\nrate_limits: {send: {burst: 7}}"
	env := []string{
		"TRESTLE_SERVER_NAME=env", "TRESTLE_LISTEN=:2, :3", "TRESTLE_LOGGING_LEVEL=warn", "TRESTLE_RATE_LIMITS_SEND_PER_SECOND=0.5",
		"TRESTLE_BRIDGES_IRC_NETWORKS_LOCAL_TLS=true", "TRESTLE_MAX_BODY=", "TRESTLE_MEDIA_THUMBNAILS=[{width: 5, height: 6, method: crop}]",
		"TRESTLE_SERVICE_HOST=10.0.0.1", "OTHER=1", "TRESTLE_SPEC=/x",
	}
	c, _, err := load(t, file, env, "--server-name", "flag", "--listen", ":4", "--listen", ":5", "--no-bridges", "--open-registration=false")
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerName != "flag" || !reflect.DeepEqual(c.Listen, []string{":4", ":5"}) || !c.NoBridges || c.OpenRegistration {
		t.Errorf("flags do not win: %s %v", c.ServerName, c.Listen)
	}
	if c.Logging != (config.Logging{Level: "warn", Format: "json"}) {
		t.Errorf("logging %v", c.Logging)
	}
	if c.RateLimits["send"] != (config.RateLimit{PerSecond: 0.5, Burst: 7}) {
		t.Errorf("rate limit %v", c.RateLimits["send"])
	}
	if !c.Bridges.IRC.Networks["local"].TLS || c.MaxBody != 1<<20 {
		t.Error("a variable inside a map, or an empty one, did not do what it should")
	}
	if !reflect.DeepEqual(c.Media.Thumbnails, []config.Thumbnail{{Width: 5, Height: 6, Method: "crop"}}) {
		t.Errorf("thumbnails %v", c.Media.Thumbnails)
	}
	want := []string{"TRESTLE_SERVICE_HOST is set in the environment, but there is no such setting"}
	if !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("warnings %v", c.Warnings)
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	path := filepath.Join(dir, "etc", "trestle.yaml")
	write(t, path, "data: ../var\nmedia: {path: pictures}\nsigning_key: /keys/k\ndatabase: db/main.db\nappservices: ["+dir+"/etc]")
	c, err := config.Load(config.Source{
		Flags:   parseFlags(t, "--config", "etc/trestle.yaml"),
		Environ: []string{"TRESTLE_BRIDGES_IRC_DATABASE=bridge.db"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []struct{ name, path, want string }{
		{"file", c.File, path},
		{"data, from the file's folder", c.Data, filepath.Join(dir, "var")},
		{"media, from the data folder", c.Media.Path, filepath.Join(dir, "var", "pictures")},
		{"absolute", c.SigningKey, "/keys/k"},
		{"database", c.Database.Reveal(), filepath.Join(dir, "var", "db", "main.db")},
		{"a variable, from the working directory", c.Bridges.IRC.Database.Reveal(), filepath.Join(dir, "bridge.db")},
		{"list", c.AppServices[0], filepath.Join(dir, "etc")},
	} {
		if got.path != got.want {
			t.Errorf("%s: %s, not %s", got.name, got.path, got.want)
		}
	}
}

func TestDataFlagFindsTheFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d", "trestle.yaml"), "server_name: there\ndatabase: postgres://u:p@h/n")
	t.Chdir(dir)
	for _, src := range []config.Source{
		{Flags: parseFlags(t, "--data", "d")},
		{Environ: []string{"TRESTLE_DATA=d"}},
	} {
		c, err := config.Load(src)
		if err != nil {
			t.Fatal(err)
		}
		if c.ServerName != "there" || c.Data != filepath.Join(dir, "d") || c.Database != "postgres://u:p@h/n" {
			t.Errorf("server %s, data %s", c.ServerName, c.Data)
		}
	}
	c, err := config.Load(config.Source{})
	if err != nil || c.File != "" || c.Data != filepath.Join(dir, "data") {
		t.Errorf("without a file: %v, %+v", err, c)
	}
	if _, err := config.Load(config.Source{Flags: parseFlags(t, "--config", "missing.yaml")}); err == nil {
		t.Error("a file that was named and is missing is no error")
	}
}

func TestSecretFiles(t *testing.T) {
	file := "registration_shared_secret_file: $dir/secret\ndatabase_file: $dir/db\nregistration: {tokens_file: $dir/tokens}\n"
	setup := func(t *testing.T, env []string, args ...string) (*config.Config, error) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "secret"), "hunter2\n")
		write(t, filepath.Join(dir, "db"), "other.db\n")
		write(t, filepath.Join(dir, "tokens"), "one\n\ntwo\r\n")
		write(t, filepath.Join(dir, "empty"), "\n")
		write(t, filepath.Join(dir, "trestle.yaml"), strings.ReplaceAll(file, "$dir", dir))
		for i := range env {
			env[i] = strings.ReplaceAll(env[i], "$dir", dir)
		}
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "$dir", dir)
		}
		return config.Load(config.Source{Flags: parseFlags(t, append(args, "--data", dir)...), Environ: env})
	}
	c, err := setup(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.RegistrationSharedSecret != "hunter2" || c.Database.Reveal() != filepath.Join(c.Data, "other.db") || !reflect.DeepEqual(c.Registration.Tokens, []config.Secret{"one", "two"}) {
		t.Errorf("secret %q, database %q, tokens %q", c.RegistrationSharedSecret.Reveal(), c.Database.Reveal(), c.Registration.Tokens)
	}
	c, err = setup(t, []string{"TRESTLE_REGISTRATION_SHARED_SECRET=direct", "TRESTLE_REGISTRATION_TOKENS_FILE=$dir/secret"})
	if err != nil || c.RegistrationSharedSecret != "direct" || !reflect.DeepEqual(c.Registration.Tokens, []config.Secret{"hunter2"}) {
		t.Errorf("a stronger secret does not win: %v", err)
	}
	c, err = setup(t, []string{"TRESTLE_REGISTRATION_SHARED_SECRET=direct"}, "--registration-shared-secret-file", "$dir/secret")
	if err != nil || c.RegistrationSharedSecret != "hunter2" {
		t.Errorf("a stronger file does not win: %v", err)
	}
	for name, c := range map[string]struct{ env, want string }{
		"both":    {"TRESTLE_DATABASE=x TRESTLE_DATABASE_FILE=$dir/db", "only one of the two can be"},
		"missing": {"TRESTLE_DATABASE_FILE=$dir/none", "TRESTLE_DATABASE_FILE: database_file: open "},
		"empty":   {"TRESTLE_DATABASE_FILE=$dir/empty", "holds no secret"},
		"lines":   {"TRESTLE_DATABASE_FILE=$dir/tokens", "holds more than one line"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := setup(t, strings.Fields(c.env)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %s", err, c.want)
			}
		})
	}
}

func TestLoadNamesTheSource(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env, args  []string
		want       string
	}{
		{"variable", "", []string{"TRESTLE_MAX_BODY=big"}, nil, `TRESTLE_MAX_BODY: max_body: "big" is not a size`},
		{"invalid variable", "", []string{"TRESTLE_SERVER_NAME=a b"}, nil, "TRESTLE_SERVER_NAME: server_name: "},
		{"yaml variable", "", []string{"TRESTLE_MEDIA_THUMBNAILS=["}, nil, "TRESTLE_MEDIA_THUMBNAILS: media.thumbnails: is not YAML"},
		{"yaml variable's key", "", []string{"TRESTLE_MEDIA_THUMBNAILS=[{w: 1}]"}, nil, "TRESTLE_MEDIA_THUMBNAILS: media.thumbnails[0].w: there is no such setting"},
		{"flag over file", "listen: [':1']", nil, []string{"--listen", "nowhere"}, `--listen: listen[0]: "nowhere" is not host:port`},
		{"flag", "", nil, []string{"--listen", "nowhere"}, `--listen: listen[0]: "nowhere" is not host:port`},
		{"network flag", "", nil, []string{"--irc-network", "x"}, `--irc-network: "x" is not NAME=HOST:PORT`},
		{"network of the file", "server_name: a\nirc_network:\n  - a=h:1\n  - x", nil, nil, `trestle.yaml:4: irc_network: "x" is not NAME=HOST:PORT`},
		{"network's address of the file", "server_name: a\nirc_network: [x=h]", nil, nil, `trestle.yaml:2: bridges.irc.networks.x.address: "h" is not host:port`},
		{"TLS without a certificate", "server_name: a\nlisten: [':1', 'tls::2']", nil, nil, "trestle.yaml:2: listen[1]: tls::2 needs tls_cert and tls_key"},
		{"metrics with TLS", "metrics: {listen: 'tls::2'}", nil, nil, "trestle.yaml:1: metrics.listen: tls::2 needs tls_cert and tls_key"},
		{"network option", "", nil, []string{"--irc-network", "x=h:1,ssl"}, `--irc-network: "x=h:1,ssl" is not NAME=HOST:PORT`},
		{"network address", "", nil, []string{"--irc-network", "x=h"}, `--irc-network: bridges.irc.networks.x.address: "h" is not host:port`},
		{"certificate", "tls_cert: a\ntls_key: b", nil, nil, "trestle.yaml:1: tls_cert: open "},
		{"authority", "server_name: a\nca_file: trestle.yaml", nil, nil, "trestle.yaml:2: ca_file: "},
		{"folder", "appservices: [none]", nil, nil, "trestle.yaml:1: appservices[0]: stat "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := load(t, c.file, c.env, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestIRCNetworkFlag(t *testing.T) {
	c, _, err := load(t, "irc_network: ['nought=h:8,tls', 'one=h:9']", []string{"TRESTLE_IRC_NETWORK=one=h:1 two=h:2,tls", "TRESTLE_BRIDGES_IRC_NETWORKS_TWO_BOT_NICK=robot"},
		"--irc-network", "libera=127.0.0.1:7000", "--irc-network", "two=[::1]:3")
	if err != nil {
		t.Fatal(err)
	}
	networks := c.Bridges.IRC.Networks
	if n := networks["nought"]; n.Address != "h:8" || !n.TLS || !n.Enabled || n.Name != "nought" {
		t.Errorf("nought is %+v", n)
	}
	if n := networks["one"]; n.Address != "h:1" || n.TLS || !n.Enabled || n.Name != "one" {
		t.Errorf("one is %+v", n)
	}
	if n := networks["two"]; n.Address != "[::1]:3" || n.TLS || n.BotNick != "robot" {
		t.Errorf("two is %+v", n)
	}
	if n := networks["libera"]; n.Address != "127.0.0.1:7000" || n.TLS || !n.Enabled || n.Nick != "{localpart}[m]" {
		t.Errorf("libera is %+v", n)
	}
	if _, ok := networks["local"]; !ok {
		t.Error("a network of the file is gone")
	}
}

// A certificate that encrypts nothing is not what somebody wanted.
func TestACertificateThatIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	for listen, want := range map[string]int{":1": 1, "tls::1": 0} {
		c, err := config.Load(config.Source{Flags: parseFlags(t, "--data", dir, "--tls-cert", cert, "--tls-key", key, "--listen", listen)})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Warnings) != want || want > 0 && !strings.Contains(c.Warnings[0], "tls_cert is not used") {
			t.Errorf("listening on %s: %q", listen, c.Warnings)
		}
	}
}

func TestEveryFlagIsDocumented(t *testing.T) {
	set := flag.NewFlagSet("trestle", flag.ContinueOnError)
	config.AddFlags(set)
	for _, name := range []string{
		"config", "data", "server-name", "listen", "federation-listen", "tls-cert", "tls-key", "ca-file", "database", "database-file",
		"appservices", "registration-shared-secret", "registration-shared-secret-file", "open-registration", "no-rate-limits", "no-bridges", "irc-network",
	} {
		f := set.Lookup(name)
		if f == nil {
			t.Errorf("there is no flag --%s", name)
		} else if f.Usage == "" {
			t.Errorf("--%s says nothing about itself", name)
		}
	}
}
