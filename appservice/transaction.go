// Package appservice holds what both ends of the Application Service API
// share: transactions, paths, third-party objects, and the records of the
// homeserver's delivery queue. It does no I/O.
package appservice

import (
	"encoding/json"
	"fmt"

	"trestle/internal/matrix"
)

// A Transaction is the body of PUT /_matrix/app/v1/transactions/{txnId}
// (§ Pushing events). Besides what the specification has, it carries what
// encrypting bridges need: to-device messages (MSC2409, MSC4203), device lists
// and key counts (MSC3202).
type Transaction struct {
	Events    []json.RawMessage // client format
	Ephemeral []json.RawMessage // m.typing, m.receipt, m.presence
	ToDevice  []json.RawMessage // with to_user_id and to_device_id

	DeviceLists      *DeviceLists
	OneTimeKeyCounts map[matrix.UserID]map[matrix.DeviceID]map[string]int
	FallbackKeyTypes map[matrix.UserID]map[matrix.DeviceID][]string
}

// DeviceLists says whose devices changed, and who is no longer shared a room
// with.
type DeviceLists struct {
	Changed []matrix.UserID `json:"changed"`
	Left    []matrix.UserID `json:"left"`
}

// whole has empty lists in place of missing ones, which services may not expect.
func (d *DeviceLists) whole() *DeviceLists {
	if d == nil {
		return nil
	}
	return &DeviceLists{
		Changed: append([]matrix.UserID{}, d.Changed...),
		Left:    append([]matrix.UserID{}, d.Left...),
	}
}

// Spelling says under which names ephemeral data travels: each that the
// service's registration asks for by its own key.
type Spelling struct {
	Stable   bool // receive_ephemeral: "ephemeral"
	Unstable bool // de.sorunome.msc2409.push_ephemeral: "de.sorunome.msc2409.ephemeral"
}

// The proposals beyond the specification are under their own names until it
// takes them in.
const (
	keyEphemeral    = "de.sorunome.msc2409.ephemeral"
	keyToDevice     = "de.sorunome.msc2409.to_device"
	keyDeviceLists  = "org.matrix.msc3202.device_lists"
	keyOneTimeKeys  = "org.matrix.msc3202.device_one_time_keys_count"
	keyFallbackKeys = "org.matrix.msc3202.device_unused_fallback_key_types"
)

// Append appends the body. The same transaction always gives the same bytes.
func (t *Transaction) Append(dst []byte, names Spelling) ([]byte, error) {
	dst = append(dst, `{"events":`...)
	dst = appendArray(dst, t.Events)
	if len(t.Ephemeral) > 0 {
		if names.Stable {
			dst = appendArray(appendKey(dst, "ephemeral"), t.Ephemeral)
		}
		if names.Unstable {
			dst = appendArray(appendKey(dst, keyEphemeral), t.Ephemeral)
		}
	}
	if len(t.ToDevice) > 0 {
		dst = appendArray(appendKey(dst, keyToDevice), t.ToDevice)
	}
	var err error
	add := func(key string, present bool, value any) {
		if !present || err != nil {
			return
		}
		var raw []byte
		raw, err = json.Marshal(value)
		dst = append(appendKey(dst, key), raw...)
	}
	add(keyDeviceLists, t.DeviceLists != nil, t.DeviceLists.whole())
	add(keyOneTimeKeys, len(t.OneTimeKeyCounts) > 0, t.OneTimeKeyCounts)
	add(keyFallbackKeys, len(t.FallbackKeyTypes) > 0, t.FallbackKeyTypes)
	if err != nil {
		return nil, fmt.Errorf("encode a transaction: %w", err)
	}
	return append(dst, '}'), nil
}

func appendKey(dst []byte, key string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendArray(dst []byte, members []json.RawMessage) []byte {
	dst = append(dst, '[')
	for i, member := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, member...)
	}
	return append(dst, ']')
}

// ParseTransaction reads a body, under stable and unstable names; a stable
// name wins where both are there, since they then say the same.
func ParseTransaction(data []byte) (*Transaction, error) {
	var body struct {
		Events    *[]json.RawMessage `json:"events"`
		Ephemeral []json.RawMessage  `json:"ephemeral"`
		ToDevice  []json.RawMessage  `json:"to_device"`

		DeviceLists      *DeviceLists                                         `json:"device_lists"`
		OneTimeKeyCounts map[matrix.UserID]map[matrix.DeviceID]map[string]int `json:"device_one_time_keys_count"`
		FallbackKeyTypes map[matrix.UserID]map[matrix.DeviceID][]string       `json:"device_unused_fallback_key_types"`

		UnstableEphemeral   []json.RawMessage                                    `json:"de.sorunome.msc2409.ephemeral"`
		UnstableToDevice    []json.RawMessage                                    `json:"de.sorunome.msc2409.to_device"`
		UnstableDeviceLists *DeviceLists                                         `json:"org.matrix.msc3202.device_lists"`
		UnstableOneTime     map[matrix.UserID]map[matrix.DeviceID]map[string]int `json:"org.matrix.msc3202.device_one_time_keys_count"`
		UnstableFallback    map[matrix.UserID]map[matrix.DeviceID][]string       `json:"org.matrix.msc3202.device_unused_fallback_key_types"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, matrix.BadJSON("This is not a transaction: %s.", err)
	}
	if body.Events == nil {
		return nil, matrix.BadJSON("A transaction needs the array %q.", "events")
	}
	t := &Transaction{
		Events: *body.Events, Ephemeral: body.Ephemeral, ToDevice: body.ToDevice,
		DeviceLists: body.DeviceLists, OneTimeKeyCounts: body.OneTimeKeyCounts, FallbackKeyTypes: body.FallbackKeyTypes,
	}
	if t.Ephemeral == nil {
		t.Ephemeral = body.UnstableEphemeral
	}
	if t.ToDevice == nil {
		t.ToDevice = body.UnstableToDevice
	}
	if t.DeviceLists == nil {
		t.DeviceLists = body.UnstableDeviceLists
	}
	if t.OneTimeKeyCounts == nil {
		t.OneTimeKeyCounts = body.UnstableOneTime
	}
	if t.FallbackKeyTypes == nil {
		t.FallbackKeyTypes = body.UnstableFallback
	}
	return t, nil
}
