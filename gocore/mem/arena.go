package mem

import (
	"fmt"
	"sync"

	"mooncake_te/gocore/errcode"
)

// Arena hands out mappings by address, up to a limit, and knows which are out: memory that an engine gives its user and
// that must not outlive the engine. Its methods may be called from any goroutine.
type Arena struct {
	mu     sync.Mutex
	limit  uint64
	used   uint64
	blocks map[uint64]*Mapping
	closed bool
}

// NewArena makes an arena of at most limit bytes; 0 means no limit.
func NewArena(limit uint64) *Arena { return &Arena{limit: limit, blocks: map[uint64]*Mapping{}} }

// Allocate maps at least n zeroed bytes and returns their address.
func (a *Arena) Allocate(n uint64) (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, errcode.New(errcode.Closed, "allocate", "the engine is closed")
	}
	if a.limit > 0 && (n > a.limit || a.used > a.limit-n) {
		return 0, errcode.New(errcode.ResourceExhausted, "allocate",
			fmt.Sprintf("%d bytes on top of %d are more than the limit of %d", n, a.used, a.limit)).
			WithHint("free what is not needed any more, or raise the limit")
	}
	m, err := Map(n)
	if err != nil {
		return 0, err
	}
	a.used += m.Len()
	a.blocks[m.Addr()] = m
	return m.Addr(), nil
}

// Size is the length in bytes of the block at addr, 0 if there is none.
func (a *Arena) Size(addr uint64) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m := a.blocks[addr]; m != nil {
		return m.Len()
	}
	return 0
}

// Free unmaps the block that Allocate returned at addr.
func (a *Arena) Free(addr uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.blocks[addr]
	if m == nil {
		return errcode.New(errcode.InvalidArgument, "free", fmt.Sprintf("no allocated memory starts at %#x", addr)).
			WithHint("free the address that allocate returned, once")
	}
	return a.drop(addr, m)
}

func (a *Arena) drop(addr uint64, m *Mapping) error {
	n := m.Len()
	if err := m.Free(); err != nil {
		return err
	}
	delete(a.blocks, addr)
	a.used -= n
	return nil
}

// Used is how many bytes are handed out.
func (a *Arena) Used() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.used
}

// Close frees everything; nobody may use any of it any more.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	var first error
	for addr, m := range a.blocks {
		if err := a.drop(addr, m); err != nil && first == nil {
			first = err
		}
	}
	return first
}
