// Package descriptor holds what a segment publishes: the head (who, where, how new) and the full descriptor with its
// buffers. Pure: types, validation, comparison and digest; no I/O. A Descriptor is immutable once built.
package descriptor

import (
	"mooncake_te/gocore/types"
)

// Caps bound what a decoder accepts, checked before anything is allocated.
const (
	MaxNameLen   = 512
	MaxLabelLen  = 256
	MaxAddresses = 64
	MaxBuffers   = 4 << 20
)

// Head is the small part: identity, order and addresses.
type Head struct {
	Name      string
	Instance  types.InstanceID
	Epoch     uint64
	StoreID   string // 32 hex digits, or empty peer to peer
	Version   types.Version
	Addresses []string // control channel, host:port, IPv6 in brackets
	Data      []string // TCP data ports, host:port
}

// Buffer is one listed grant over a whole registration.
type Buffer struct {
	ID       types.BufferID
	Length   uint64
	State    types.State
	Perm     types.Perm
	Label    string // the application's name for it, possibly empty
	Location string // "cpu:0", "cuda:1", or "*"
}

// Descriptor is a head and its buffers, sorted by ID.
type Descriptor struct {
	Head
	Buffers []Buffer
}
