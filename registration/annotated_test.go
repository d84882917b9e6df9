package registration_test

import (
	"testing"

	"trestle/registration"
)

func TestAnnotated(t *testing.T) {
	r := registration.Generate("it's", "http://localhost:9000", "bot")
	r.Namespaces.Users = space(t, `@it's_.*:example\.org`, true)
	data, err := r.Annotated()
	if err != nil {
		t.Fatal(err)
	}
	got, err := registration.Parse("", data)
	if err != nil || len(got.Warnings) != 0 {
		t.Fatalf("%v, %v\n%s", err, got, data)
	}
	a, _ := registration.NewSet("example.org", r)
	b, _ := registration.NewSet("example.org", got)
	if d := registration.Differences(a, b); len(d) != 0 {
		t.Errorf("came back with %v:\n%s", d, data)
	}
	if _, err := registration.Generate("a\nb", "", "bot").Annotated(); err == nil {
		t.Error("an ID of two lines was written")
	}
}
