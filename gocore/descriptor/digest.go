package descriptor

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"

	"mooncake_te/gocore/types"
)

// digestDomain separates this hash from any other and names the canonical form's version.
const digestDomain = "mooncake_te descriptor 1"

// Digest is the SHA-256 of the canonical form: every field in the order of its declaration; numbers as little-endian
// 64 bits, strings and lists with their length before them. A descriptor with a label, devices, addresses or keys has a
// further part behind that, so that one without them keeps the digest it always had. Two descriptors have the same digest
// exactly if a reader cannot tell them apart; a head's count and digest, which follow from the rest, do not take part.
func (d *Descriptor) Digest() [sha256.Size]byte {
	w := canonical{h: sha256.New(), buf: make([]byte, 0, 4096)}
	w.text(digestDomain)
	w.head(&d.Head)
	w.number(uint64(len(d.Buffers)))
	for i := range d.Buffers {
		w.buffer(&d.Buffers[i])
	}
	if d.extended() {
		w.extension(d)
	}
	return w.sum()
}

// DigestText is the digest as a head carries it.
func (d *Descriptor) DigestText() string {
	sum := d.Digest()
	return hex.EncodeToString(sum[:])
}

func (d *Descriptor) extended() bool {
	return d.Label != "" || len(d.Devices) > 0 ||
		slices.ContainsFunc(d.Buffers, func(b Buffer) bool { return b.Addr != 0 || len(b.Keys) > 0 })
}

// canonical writes the canonical form into a hash, in pieces of some kilobytes.
type canonical struct {
	h   hash.Hash
	buf []byte
}

func (w *canonical) head(h *Head) {
	w.text(h.Name)
	w.bytes(h.Instance[:])
	w.number(h.Epoch)
	w.text(h.StoreID)
	w.number(uint64(h.Version))
	for _, list := range [...][]string{h.Addresses, h.Data} {
		w.number(uint64(len(list)))
		for _, a := range list {
			w.text(a)
		}
	}
}

func (w *canonical) buffer(b *Buffer) {
	w.number(uint64(b.ID))
	w.number(b.Length)
	w.number(uint64(b.State))
	w.number(uint64(b.Perm))
	w.text(b.Label)
	w.text(b.Location)
}

func (w *canonical) extension(d *Descriptor) {
	w.text("extension 1")
	w.text(d.Label)
	w.number(uint64(len(d.Devices)))
	for _, dev := range d.Devices {
		w.text(dev.Name)
		w.number(uint64(dev.LID))
		w.text(dev.GID)
	}
	for i := range d.Buffers {
		b := &d.Buffers[i]
		w.number(b.Addr)
		w.number(uint64(len(b.Keys)))
		for _, k := range b.Keys {
			w.number(uint64(k))
		}
	}
}

func (w *canonical) number(n uint64) {
	w.buf = binary.LittleEndian.AppendUint64(w.buf, n)
	w.flush(4096)
}

func (w *canonical) text(s string) {
	w.number(uint64(len(s)))
	w.buf = append(w.buf, s...)
	w.flush(4096)
}

func (w *canonical) bytes(b []byte) {
	w.buf = append(w.buf, b...)
	w.flush(4096)
}

// flush hands the buffer to the hash once it holds at least n bytes. A hash never fails to write.
func (w *canonical) flush(n int) {
	if len(w.buf) >= n {
		_, _ = w.h.Write(w.buf)
		w.buf = w.buf[:0]
	}
}

func (w *canonical) sum() (out [sha256.Size]byte) {
	w.flush(1)
	w.h.Sum(out[:0])
	return out
}

// Find returns the buffer with this ID, or nil. Buffers must be sorted, as Validate demands.
func (d *Descriptor) Find(id types.BufferID) *Buffer {
	lo, hi := 0, len(d.Buffers)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if d.Buffers[mid].ID < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(d.Buffers) && d.Buffers[lo].ID == id {
		return &d.Buffers[lo]
	}
	return nil
}
