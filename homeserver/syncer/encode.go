package syncer

import (
	"encoding/json"
	"maps"
	"slices"

	"trestle/internal/matrix"
)

// An answer is mostly events that are JSON already. encoding/json would read
// each again, byte by byte, to see whether that is so; here they are copied.

// AppendJSON appends the answer to /sync.
func (r *Response) AppendJSON(dst []byte) ([]byte, error) {
	w := writer{dst: dst}
	w.open()
	w.text("next_batch", r.NextBatch)
	w.list("account_data", r.AccountData)
	w.list("presence", r.Presence)
	w.list("to_device", r.ToDevice)
	if r.Rooms != nil {
		w.key("rooms")
		r.Rooms.write(&w)
	}
	if r.DeviceLists != nil {
		w.other("device_lists", r.DeviceLists)
	}
	w.other("device_one_time_keys_count", r.OneTimeKeys)
	w.other("device_unused_fallback_key_types", r.FallbackKeys)
	w.close()
	return w.dst, w.err
}

// AppendJSON appends the page.
func (p *Page) AppendJSON(dst []byte) ([]byte, error) {
	w := writer{dst: dst}
	w.open()
	w.text("start", p.Start)
	if p.End != "" {
		w.text("end", p.End)
	}
	w.events("chunk", p.Chunk)
	if len(p.State) > 0 {
		w.events("state", p.State)
	}
	w.close()
	return w.dst, w.err
}

func (r *Rooms) write(w *writer) {
	w.open()
	writeRooms(w, "join", r.Join, (*JoinedRoom).write)
	writeRooms(w, "invite", r.Invite, func(room *InvitedRoom, w *writer) { w.list("invite_state", &room.State) })
	writeRooms(w, "knock", r.Knock, func(room *KnockedRoom, w *writer) { w.list("knock_state", &room.State) })
	writeRooms(w, "leave", r.Leave, (*LeftRoom).write)
	w.close()
}

// writeRooms writes rooms in the order of their IDs, as encoding/json does.
func writeRooms[Room any](w *writer, name string, rooms map[matrix.RoomID]*Room, write func(*Room, *writer)) {
	if len(rooms) == 0 {
		return
	}
	w.key(name)
	w.open()
	for _, id := range slices.Sorted(maps.Keys(rooms)) {
		w.key(string(id))
		w.open()
		write(rooms[id], w)
		w.close()
	}
	w.close()
}

func (r *JoinedRoom) write(w *writer) {
	if r.Summary != nil {
		w.other("summary", r.Summary)
	}
	w.list("state", r.State)
	w.list("state_after", r.StateAfter)
	w.list("org.matrix.msc4222.state_after", r.ProposedStateAfter)
	w.timeline(r.Timeline)
	w.list("ephemeral", r.Ephemeral)
	w.list("account_data", r.AccountData)
	if r.Unread != nil {
		w.other("unread_notifications", r.Unread)
	}
	if len(r.UnreadThreads) > 0 {
		w.other("unread_thread_notifications", r.UnreadThreads)
	}
}

func (r *LeftRoom) write(w *writer) {
	w.list("state", r.State)
	w.list("state_after", r.StateAfter)
	w.list("org.matrix.msc4222.state_after", r.ProposedStateAfter)
	w.timeline(r.Timeline)
	w.list("account_data", r.AccountData)
}

// A writer appends members of objects, with the commas between them.
type writer struct {
	dst []byte
	err error // the first
}

func (w *writer) open()  { w.dst = append(w.dst, '{') }
func (w *writer) close() { w.dst = append(w.dst, '}') }

func (w *writer) key(name string) {
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.quoted(name)
	w.dst = append(w.dst, ':')
}

func (w *writer) quoted(text string) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			w.value(text)
			return
		}
	}
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, text...)
	w.dst = append(w.dst, '"')
}

// value writes what is small, and not JSON yet.
func (w *writer) value(v any) {
	raw, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.dst = append(w.dst, raw...)
}

func (w *writer) text(name, text string) {
	w.key(name)
	w.quoted(text)
}

func (w *writer) other(name string, v any) {
	w.key(name)
	w.value(v)
}

// list writes an object with events, unless there is none.
func (w *writer) list(name string, list *EventList) {
	if list == nil {
		return
	}
	w.key(name)
	w.open()
	w.events("events", list.Events)
	w.close()
}

func (w *writer) timeline(t *Timeline) {
	if t == nil {
		return
	}
	w.key("timeline")
	w.open()
	w.events("events", t.Events)
	w.key("limited")
	if t.Limited {
		w.dst = append(w.dst, "true"...)
	} else {
		w.dst = append(w.dst, "false"...)
	}
	if t.PrevBatch != "" {
		w.text("prev_batch", t.PrevBatch)
	}
	w.close()
}

func (w *writer) events(name string, events []json.RawMessage) {
	w.key(name)
	if events == nil {
		w.dst = append(w.dst, "null"...)
		return
	}
	w.dst = append(w.dst, '[')
	for i, event := range events {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.dst = append(w.dst, event...)
	}
	w.dst = append(w.dst, ']')
}
