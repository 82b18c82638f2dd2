package mem

import (
	"sync/atomic"
	"unsafe"
)

// Words is a row of 64-bit status words outside Go's heap, at addresses that never move: C and Python poll them while Go
// stores them. Each word is read and written atomically.
type Words struct {
	m *Mapping
	w []atomic.Uint64
}

// NewWords maps n zeroed words.
func NewWords(n int) (*Words, error) {
	m, err := Map(uint64(max(n, 0)) * 8)
	if err != nil {
		return nil, err
	}
	return &Words{m: m, w: unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(m.b))), n)}, nil
}

// Len is how many words there are.
func (w *Words) Len() int { return len(w.w) }

// At is word i. It must not be used after Free.
func (w *Words) At(i int) *atomic.Uint64 { return &w.w[i] }

// Addr is the address of word i for the other languages.
func (w *Words) Addr(i int) uint64 { return uint64(uintptr(unsafe.Pointer(&w.w[i]))) }

// Free unmaps the words; nobody may poll them any more.
func (w *Words) Free() error {
	w.w = nil
	return w.m.Free()
}
