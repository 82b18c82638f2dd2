// Package descriptor holds what a segment publishes: the head (who, where, how new) and the full descriptor with its
// buffers; and the documents that stand for them in a metadata store: our head (JSON) and the stock Mooncake JSON.
//
// Pure: types, validation, comparison, digest, encoding and decoding; no I/O. A Descriptor is immutable once built, and
// no function here changes one that it was given. Decoders are strict and bounded (strict.go): what another process
// wrote into a store may be anything.
package descriptor

import (
	"slices"

	"mooncake_te/gocore/types"
)

// Caps bound what a decoder accepts, checked before anything is allocated.
const (
	MaxNameLen   = 512
	MaxLabelLen  = 256
	MaxAddresses = 64
	MaxDevices   = 64
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
	Devices   []Device // NICs that RDMA peers may reach; none over TCP alone
	Label     string   // what the application calls the engine where Name is an address; possibly empty
	Buffers   uint64   // how many the descriptor has; in a Descriptor 0 stands for "as many as there are"
	Digest    string   // of the descriptor that a head alone stands for, 64 hex digits; empty: unknown
}

// Device is one NIC of a segment. Keys of buffers are in the order of the devices.
type Device struct {
	Name string // of the adapter on its host, "mlx5_0"
	LID  uint16 // InfiniBand; 0 on Ethernet
	GID  string // 16 bytes in hexadecimal, parted by colons; other fabrics put their own address here
}

// Buffer is one listed grant over a whole registration.
type Buffer struct {
	ID       types.BufferID
	Length   uint64
	State    types.State
	Perm     types.Perm
	Label    string   // the application's name for it, possibly empty
	Location string   // "cpu:0", "cuda:1", or "*"
	Addr     uint64   // virtual address, only for those who need it (same host, stock readers); else 0
	Keys     []uint32 // remote keys, one for each device of the head; none over TCP
}

// Equal reports whether a reader could not tell the two apart.
func (b Buffer) Equal(o Buffer) bool {
	return b.ID == o.ID && b.Length == o.Length && b.State == o.State && b.Perm == o.Perm && b.Label == o.Label &&
		b.Location == o.Location && b.Addr == o.Addr && slices.Equal(b.Keys, o.Keys)
}

// Descriptor is a head and its buffers, sorted by ID.
type Descriptor struct {
	Head
	Buffers []Buffer
	Stock   *Stock // set by DecodeStock alone: what else the document said
}
