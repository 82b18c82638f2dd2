package descriptor

import (
	"strings"
	"time"

	"mooncake_te/gocore/types"
)

// MaxStockPublish bounds what we publish for stock readers: etcd refuses requests above 1.5 MiB.
const MaxStockPublish = 1_400_000

// stockTimeLayout is how stock writers write the time, in their local time zone.
const stockTimeLayout = "2006-01-02 15:04:05.000000"

// unheardState stands for a buffer state that this library does not know: kept, shown, never selected. It is not zero,
// for zero is a state that nobody set.
const unheardState types.State = 0xff

// Stock is what a stock descriptor says beyond what a Descriptor has. We read it to show it and to reach a peer by the
// stock TCP protocol.
type Stock struct {
	Protocols      []string // "tcp"; several from builds that join transports
	TCPHost        string   // empty from older writers: rpc_meta has it
	TCPPort        uint16   // 0: no TCP
	TCPProto       int      // of the stock TCP protocol: 1, or 2 with acknowledged writes
	RDMAServerName string
	Timestamp      string // as written: no zone, for people only
	PriorityMatrix map[string][][]string
}

// StockRPC is where a stock engine's control port listens: the value of an rpc_meta key.
type StockRPC struct {
	Host string
	Port uint16
}

// StockOptions are the parts of a stock descriptor that a Descriptor does not have.
type StockOptions struct {
	// Protocol is "tcp" or "rdma"; empty: rdma if the descriptor has devices.
	Protocol string
	// TCPHost and TCPPort are where the stock TCP protocol is served, TCPProto is its version (0: 2). No host: that of the
	// descriptor's first address, for stock readers refuse a descriptor without any.
	TCPHost  string
	TCPPort  uint16
	TCPProto int
	// RPC is where stock control messages are served; a port of 0 publishes no rpc_meta key.
	RPC            StockRPC
	RDMAServerName string
	// PriorityMatrix has the devices to prefer, and the others, for each location; nil: all devices for every location.
	PriorityMatrix map[string][][]string
	Now            time.Time
}

// StockKV is a key of the stock layout, relative to mooncake/<cluster>/, and its value.
type StockKV struct {
	Key   string
	Value []byte
}

// Normalized returns the descriptor as it is published: version 0 becomes 1, a state that nobody set READY, and no
// location "*" (any). The original stays as it is; without anything to change it is returned itself.
func (d *Descriptor) Normalized() *Descriptor {
	copied := *d
	changed := d.Version == 0
	if changed {
		copied.Version = 1
	}
	for i := range d.Buffers {
		b := &d.Buffers[i]
		if b.State != types.StateUnknown && b.Location != "" {
			continue
		}
		if &copied.Buffers[0] == &d.Buffers[0] {
			copied.Buffers = append([]Buffer(nil), d.Buffers...)
			changed = true
		}
		c := &copied.Buffers[i]
		if c.State == types.StateUnknown {
			c.State = types.Ready
		}
		if c.Location == "" {
			c.Location = anyLocation
		}
	}
	if !changed {
		return d
	}
	return &copied
}

// anyLocation is memory that is nowhere in particular.
const anyLocation = "*"

// segmentOfKey takes the segment's name out of a key of the stock layout, relative or whole. Names with a slash are
// keys of their own ("nvmeof/...") and have none that we could compare.
func segmentOfKey(key string) string {
	_, name, found := strings.Cut(key, "ram/")
	if !found || strings.Contains(name, "/") {
		return ""
	}
	return name
}
