package bridge

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// rawMark stands before a network's name that is no text, as databases keep it.
const rawMark = "\x01"

// storable makes text of a network's name, which may be any bytes.
func storable(name string) string {
	if utf8.ValidString(name) && !strings.Contains(name, "\x00") && !strings.HasPrefix(name, rawMark) {
		return name
	}
	return rawMark + base64.StdEncoding.EncodeToString([]byte(name))
}

// stored is the inverse of storable.
func stored(text string) string {
	encoded, raw := strings.CutPrefix(text, rawMark)
	if !raw {
		return text
	}
	name, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return text
	}
	return string(name)
}
