package tcp

import (
	"slices"
	"sync"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/mem"
)

// region is the memory that a payload runs over: the concatenation of entries, each of at least one byte.
type region interface {
	// renew says that the gates of earlier accesses were left: none of them covers what is entered from here on.
	renew()
	length(entry int) uint64
	// enter gives the address of [off, off+n) of an entry, and the gate to leave afterwards if there is one: none where
	// an earlier access since renew covers the bytes. A code other than OK says why the bytes may not be touched.
	enter(entry int, off, n uint64) (addr uint64, g *gate.Gate, code errcode.Code)
}

// cursor is a place in a region.
type cursor struct {
	entry int
	off   uint64
}

// failures are the entries of one request that ended differently from the rest, sorted by index.
type failures struct{ list []Failure }

func (f *failures) reset() { f.list = f.list[:0] }

func (f *failures) find(entry int) (int, bool) {
	return slices.BinarySearchFunc(f.list, uint32(entry), func(x Failure, e uint32) int {
		return int(int64(x.Index) - int64(e))
	})
}

func (f *failures) has(entry int) bool {
	if len(f.list) == 0 {
		return false
	}
	_, ok := f.find(entry)
	return ok
}

// add enters a failure; the first one of an entry stays.
func (f *failures) add(entry int, code errcode.Code, applied uint64) {
	if i, ok := f.find(entry); !ok {
		f.list = slices.Insert(f.list, i, Failure{Index: uint32(entry), Code: code, Applied: applied})
	}
}

// replace enters a failure over what stands there for its entry.
func (f *failures) replace(x Failure) {
	i, ok := f.find(int(x.Index))
	if !ok {
		f.list = slices.Insert(f.list, i, x)
		return
	}
	f.list[i] = x
}

// common returns the code that all n entries failed with, OK if there is no such code.
func (f *failures) common(n int) (code errcode.Code, applied uint64) {
	if len(f.list) == 0 || len(f.list) != n {
		return errcode.OK, 0
	}
	for _, x := range f.list {
		if x.Code != f.list[0].Code {
			return errcode.OK, 0
		}
		applied += x.Applied
	}
	return f.list[0].Code, applied
}

const (
	// maxSpans leaves room in one system call for what goes before and after the payload.
	maxSpans   = mem.MaxIovecs - 2
	scratchLen = 64 << 10
)

// window is what one system call covers: spans of user memory whose gates are held, and scratch for entries that failed.
// It lives from gather to leave and never while anybody waits.
type window struct {
	iov     [mem.MaxIovecs]mem.Iovec // iov[first:first+n] are the payload's
	user    [maxSpans]bool           // whether a span is user memory
	gates   []*gate.Gate
	n       int
	bytes   uint64
	scratch []byte // made when first needed
	used    int    // of the scratch
	mixed   bool   // some spans are scratch
	zeros   bool   // scratch is sent, not filled
}

// windows are large and needed only while a payload moves.
var windows = sync.Pool{New: func() any { return &window{gates: make([]*gate.Gate, 0, maxSpans)} }}

// first is where the payload's spans begin in iov; before it is room for what goes ahead of them.
const first = 1

func (w *window) spans() []mem.Iovec { return w.iov[first : first+w.n] }

// gather takes access to up to want bytes from a cursor on, in at most limit spans. Entries that refuse are entered into
// failed and their bytes go from or to scratch.
func (w *window) gather(src region, at cursor, want uint64, limit int, failed *failures, drop bool) {
	w.n, w.bytes, w.used, w.mixed, w.gates = 0, 0, 0, false, w.gates[:0]
	src.renew()
	for want > 0 && w.n < limit {
		rest := src.length(at.entry) - at.off
		n := min(rest, want)
		var span mem.Iovec
		user := !drop && !failed.has(at.entry)
		if user {
			addr, g, code := src.enter(at.entry, at.off, n)
			if code != errcode.OK {
				failed.add(at.entry, code, at.off)
				continue
			}
			if g != nil {
				w.gates = append(w.gates, g)
			}
			span = mem.Iovec{Base: addr, Len: n}
		} else {
			span = w.fill(n)
			if span.Len == 0 {
				return
			}
			n, w.mixed = span.Len, true
		}
		w.iov[first+w.n] = span
		w.user[w.n] = user
		w.n++
		w.bytes += n
		want -= n
		if at.off += n; n == rest {
			at.entry, at.off = at.entry+1, 0
		}
	}
}

// fill gives up to n bytes of scratch. What is received into it is kept apart until the checksum is made; what is sent
// from it is zeros, which may be used twice.
func (w *window) fill(n uint64) mem.Iovec {
	if w.scratch == nil {
		w.scratch = make([]byte, 2*scratchLen) // the second half is never written
	}
	if w.zeros {
		return mem.OfBytes(w.scratch[scratchLen:][:min(n, scratchLen)])
	}
	b := w.scratch[w.used:scratchLen]
	b = b[:min(n, uint64(len(b)))]
	w.used += len(b)
	return mem.OfBytes(b)
}

// userBytes is how many of the first n bytes are user memory.
func (w *window) userBytes(n uint64) (sum uint64) {
	if !w.mixed {
		return n
	}
	for i, v := range w.spans() {
		m := min(v.Len, n)
		if w.user[i] {
			sum += m
		}
		if n -= m; n == 0 {
			break
		}
	}
	return sum
}

// leave ends all accesses.
func (w *window) leave() {
	for _, g := range w.gates {
		g.Leave()
	}
	w.gates = w.gates[:0]
}

// advance moves a cursor by n bytes.
func (c *cursor) advance(src region, n uint64) {
	for n > 0 {
		m := min(src.length(c.entry)-c.off, n)
		n -= m
		if c.off += m; c.off == src.length(c.entry) {
			c.entry, c.off = c.entry+1, 0
		}
	}
}
