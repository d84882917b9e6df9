package matrix_test

import (
	"crypto/ed25519"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// kilobyte is the content of a message with formatting: with its envelope
// the event has about 1 KB.
const kilobyte = `{"msgtype":"m.text","body":"The quick brown fox jumps over the lazy dog — twice, says Zoë. > quoted text\nand a second line with \"quotes\" in it, so that there is something to escape.","format":"org.matrix.custom.html","formatted_body":"<p>The quick brown fox jumps over the <em>lazy</em> dog — twice, says Zoë.</p><blockquote>quoted text</blockquote><p>and a second line with &quot;quotes&quot; in it</p>","m.mentions":{"user_ids":["@alice:example.org"]},"m.relates_to":{"m.in_reply_to":{"event_id":"$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"}}}`

func benchTemplate() matrix.EventTemplate {
	return matrix.EventTemplate{
		RoomID: "!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ", Sender: "@bob:example.org", Type: "m.room.message",
		Content: []byte(kilobyte), OriginServerTS: 1432735824653, Depth: 12,
		PrevEvents: []matrix.EventID{"$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"},
		AuthEvents: []matrix.EventID{"$acR1l0raoZnm60CBwAVgqbZqoO_mYU81xysh1u7XcJk", "$CD66HAED5npg6074c6pDtLKalHjVfYb2q4Q3LZgrW6o"},
	}
}

func benchEvent(b *testing.B) *matrix.Event {
	v, _ := roomversion.Lookup("12")
	e, err := benchTemplate().Build(v, "example.org", testKey)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

var testKey = matrix.SigningKey{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, 32))}

func BenchmarkCanonicalJSON(b *testing.B) {
	e := benchEvent(b)
	inputs := map[string][]byte{"canonical": e.JSON(), "client": e.AppendClient(nil, matrix.ClientOptions{}), "unsorted": []byte(kilobyte)}
	for _, name := range []string{"canonical", "client", "unsorted"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(inputs[name])))
			b.ReportAllocs()
			buf := make([]byte, 0, 4096)
			for b.Loop() {
				buf, _ = matrix.AppendCanonicalJSON(buf[:0], inputs[name])
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	v, _ := roomversion.Lookup("12")
	t := benchTemplate()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Build(v, "example.org", testKey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignatureAlone(b *testing.B) {
	message := benchEvent(b).JSON()[:500]
	for b.Loop() {
		ed25519.Sign(testKey.Private, message)
	}
}

func BenchmarkLoadEvent(b *testing.B) {
	e := benchEvent(b)
	b.SetBytes(int64(len(e.JSON())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := matrix.LoadEvent(e.Version, e.ID, e.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseEvent(b *testing.B) {
	e := benchEvent(b)
	b.SetBytes(int64(len(e.JSON())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := matrix.ParseEvent(e.Version, e.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendClient(b *testing.B) {
	e := benchEvent(b)
	age := int64(1257)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendClient(buf[:0], matrix.ClientOptions{Age: &age, TransactionID: "m1234567890.1", NoRoomID: true})
	}
}
