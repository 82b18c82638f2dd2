package mem

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
)

// Stats counts what this package has mapped and not given back.
type Stats struct {
	Mappings int64 `json:"mappings"`
	Bytes    int64 `json:"bytes"`
}

var mappings, mappedBytes atomic.Int64

// Accounted returns what is mapped now; it is back at its start once everything was freed.
func Accounted() Stats { return Stats{Mappings: mappings.Load(), Bytes: mappedBytes.Load()} }

// Mapping is zeroed private memory outside Go's heap. Its owner frees it once nothing can touch it any more.
type Mapping struct {
	b []byte
}

// Map makes a mapping of at least n bytes, rounded up to pages.
func Map(n uint64) (*Mapping, error) {
	page := uint64(os.Getpagesize())
	if n == 0 || n > 1<<47 {
		return nil, errcode.New(errcode.InvalidArgument, "map memory", fmt.Sprintf("a size of %d bytes", n)).
			WithHint("ask for 1 byte to 128 TiB")
	}
	size := (n + page - 1) / page * page
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, errcode.New(errcode.ResourceExhausted, "map memory", fmt.Sprintf("%d bytes", size)).Wrap(err)
	}
	mappings.Add(1)
	mappedBytes.Add(int64(size))
	return &Mapping{b: b}, nil
}

// Addr is where the mapping starts, page aligned; 0 after Free.
func (m *Mapping) Addr() uint64 {
	if m.b == nil {
		return 0
	}
	return Address(m.b)
}

// Len is its size in bytes.
func (m *Mapping) Len() uint64 { return uint64(len(m.b)) }

// Bytes is the mapping as a slice that must not be used after Free.
func (m *Mapping) Bytes() []byte { return m.b }

// Free unmaps it. It may be called again, but not at the same time.
func (m *Mapping) Free() error {
	if m.b == nil {
		return nil
	}
	b := m.b
	m.b = nil
	if err := unix.Munmap(b); err != nil {
		return errcode.New(errcode.Internal, "unmap memory", fmt.Sprintf("%d bytes", len(b))).Wrap(err)
	}
	mappings.Add(-1)
	mappedBytes.Add(-int64(len(b)))
	return nil
}
