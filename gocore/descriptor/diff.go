package descriptor

import (
	"slices"
	"strconv"
	"strings"

	"mooncake_te/gocore/types"
)

// Change is one difference between two descriptors of one name: what `describe --watch` prints and programs read.
type Change struct {
	// What names the field: instance, epoch, store, version, label, name, address, data_address, device, buffer (one came
	// or went), state, length, perm, location, memory, keys, buffer_label.
	What   string         `json:"what"`
	Buffer types.BufferID `json:"buffer,omitzero"` // for what concerns one buffer
	From   string         `json:"from"`            // empty: was not there
	To     string         `json:"to"`              // empty: is no more
}

// Diff lists what changed from a to b: first who and how new, then where, then the buffers by ID. Nil stands for no
// descriptor, so that the first and the last are told like the others. Buffers of two instances are not the same ones,
// whatever their IDs. Keys are compared, not shown.
func Diff(a, b *Descriptor) []Change {
	if a == nil {
		a = &Descriptor{}
	}
	if b == nil {
		b = &Descriptor{}
	}
	l := changes{}
	l.text("instance", 0, instanceText(a.Instance), instanceText(b.Instance))
	l.text("epoch", 0, numberText(a.Epoch), numberText(b.Epoch))
	l.text("store", 0, a.StoreID, b.StoreID)
	l.text("version", 0, numberText(uint64(a.Version)), numberText(uint64(b.Version)))
	l.text("name", 0, a.Name, b.Name)
	l.text("label", 0, a.Label, b.Label)
	l.set("address", a.Addresses, b.Addresses)
	l.set("data_address", a.Data, b.Data)
	l.set("device", deviceTexts(a.Devices), deviceTexts(b.Devices))
	if a.headAlone() || b.headAlone() {
		l.text("buffer_count", 0, numberText(a.count()), numberText(b.count()))
		return l
	}
	l.buffers(a.Buffers, b.Buffers, a.Instance == b.Instance)
	return l
}

// headAlone reports whether the buffers are not known, only their number.
func (d *Descriptor) headAlone() bool { return d.Head.Buffers > 0 && len(d.Buffers) == 0 }

func (d *Descriptor) count() uint64 { return max(d.Head.Buffers, uint64(len(d.Buffers))) }

type changes []Change

func (l *changes) text(what string, id types.BufferID, from, to string) {
	if from != to {
		*l = append(*l, Change{What: what, Buffer: id, From: from, To: to})
	}
}

// set compares lists whose order says nothing to whom it is shown.
func (l *changes) set(what string, from, to []string) {
	for _, s := range from {
		if !slices.Contains(to, s) {
			l.text(what, 0, s, "")
		}
	}
	for _, s := range to {
		if !slices.Contains(from, s) {
			l.text(what, 0, "", s)
		}
	}
}

// buffers walks both lists, which are sorted by ID.
func (l *changes) buffers(from, to []Buffer, comparable bool) {
	for len(from) > 0 || len(to) > 0 {
		switch {
		case len(to) == 0 || len(from) > 0 && (from[0].ID < to[0].ID || !comparable):
			l.text("buffer", from[0].ID, from[0].text(), "")
			from = from[1:]
		case len(from) == 0 || to[0].ID < from[0].ID:
			l.text("buffer", to[0].ID, "", to[0].text())
			to = to[1:]
		default:
			l.buffer(&from[0], &to[0])
			from, to = from[1:], to[1:]
		}
	}
}

func (l *changes) buffer(a, b *Buffer) {
	l.text("state", a.ID, a.State.String(), b.State.String())
	l.text("length", a.ID, numberText(a.Length), numberText(b.Length))
	l.text("perm", a.ID, a.Perm.String(), b.Perm.String())
	l.text("location", a.ID, a.Location, b.Location)
	l.text("buffer_label", a.ID, a.Label, b.Label)
	l.text("memory", a.ID, addressText(a.Addr), addressText(b.Addr))
	if !slices.Equal(a.Keys, b.Keys) {
		*l = append(*l, Change{What: "keys", Buffer: a.ID, From: keysText(a.Keys), To: keysText(b.Keys)})
	}
}

// text shows a buffer that came or went in one line.
func (b *Buffer) text() string {
	parts := []string{b.State.String(), numberText(b.Length) + " bytes", b.Perm.String(), b.Location}
	if b.Label != "" {
		parts = append(parts, strconv.Quote(b.Label))
	}
	return strings.Join(parts, " ")
}

func instanceText(id types.InstanceID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func numberText(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func addressText(n uint64) string {
	if n == 0 {
		return ""
	}
	return "0x" + strconv.FormatUint(n, 16)
}

// keysText says how many there are; what they are is nobody's business but the transport's.
func keysText(keys []uint32) string {
	if len(keys) == 0 {
		return ""
	}
	return strconv.Itoa(len(keys)) + " keys"
}

func deviceTexts(devices []Device) []string {
	var out []string
	for _, d := range devices {
		out = append(out, d.Name+" lid "+strconv.Itoa(int(d.LID))+" gid "+d.GID)
	}
	return out
}
