package mail_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/homeserver/mail"
)

type values struct{ Name string }

var kinds = map[string]mail.Kind{
	"hello": {Template: mail.MustTemplate("Hello", "Hello {{.Name}}", "<p>Hello {{.Name}}</p>"), Sample: values{"x"}},
	"bye":   {Template: mail.MustTemplate("Bye", "Bye {{.Name}}", "<p>Bye {{.Name}}</p>"), Sample: values{"x"}},
}

// folder has files by their names.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOperatorsWords(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  mail.Message
	}{
		{"nothing", nil, mail.Message{Subject: "Hello", Text: "Hello <i>", HTML: "<p>Hello &lt;i&gt;</p>"}},
		{"a subject", map[string]string{"hello.subject": "Moin\n"}, mail.Message{Subject: "Moin", Text: "Hello <i>", HTML: "<p>Hello &lt;i&gt;</p>"}},
		{"a text", map[string]string{"hello.txt": "Moin {{.Name}}"}, mail.Message{Subject: "Hello", Text: "Moin <i>"}},
		{"all", map[string]string{"hello.subject": "Moin {{.Name}}", "hello.txt": "{{.Name}}, moin", "hello.html": "<b>{{.Name}}</b>", ".x": "?"},
			mail.Message{Subject: "Moin <i>", Text: "<i>, moin", HTML: "<b>&lt;i&gt;</b>"}},
		{"another mail", map[string]string{"bye.txt": "Tschüs"}, mail.Message{Subject: "Hello", Text: "Hello <i>", HTML: "<p>Hello &lt;i&gt;</p>"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			templates, err := mail.ReadFolder(folder(t, tt.files), kinds)
			if err != nil {
				t.Fatal(err)
			}
			got, err := templates["hello"].Message("", values{"<i>"})
			if err != nil || got != tt.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if templates, err := mail.ReadFolder("", kinds); err != nil || templates["bye"] != kinds["bye"].Template {
		t.Errorf("without a folder: %v, %v", templates, err)
	}
}

func TestWordsThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name, file, text, want string
	}{
		{"another name", "helo.txt", "", "helo.txt is no part of a mail: names are bye, hello"},
		{"another end", "hello.htm", "", "hello.htm is no part of a mail"},
		{"no template", "hello.txt", "{{.Name", "hello.txt:1: unclosed action"},
		{"no such value", "hello.txt", "{{.Nome}}", "can't evaluate field Nome"},
		{"a page alone", "hello.html", "<p>", "hello.html needs hello.txt"},
		{"too long", "hello.subject", strings.Repeat("x", 256<<10+1), "more than 262144 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := mail.ReadFolder(folder(t, map[string]string{tt.file: tt.text}), kinds)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := mail.ReadFolder(filepath.Join(t.TempDir(), "none"), kinds); !os.IsNotExist(err) {
		t.Errorf("no folder: %v", err)
	}
}
