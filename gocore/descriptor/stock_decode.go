package descriptor

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"mooncake_te/gocore/types"
)

// maxMatrixBytes bounds the priority matrix: a line for each location and in it each device once.
const maxMatrixBytes = 256 << 10

// DecodeStock reads the document below mooncake/<cluster>/ram/, ours or that of a stock writer. The key, relative or
// whole, is compared with the name in a document of ours; "" compares nothing.
//
// Legacy means that the writer gave no instance ID or no version: there is no identity or no order to rely on. A legacy
// descriptor has version 1 for display if it has none, buffer IDs 1, 2, ... in the order of the list, and all buffers may
// be read and written, as stock peers may. A missing buffer state is READY; one that we do not know is kept as some
// state that is not READY. What it returns is valid in all but the instance ID.
func DecodeStock(key string, b []byte) (d *Descriptor, legacy bool, err error) {
	doc, err := decodeStrict[stockJSON]("stock descriptor", b, MaxStockBytes)
	if err != nil {
		return nil, false, err
	}
	if d, err = doc.head(); err != nil {
		return nil, false, err
	}
	ours := !d.Instance.IsZero()
	legacy = !ours || doc.Version == 0
	if name := segmentOfKey(key); ours && name != "" && name != d.Name {
		return nil, false, badDocument("field \"/name\" is %.80q, and the key is that of %.80q", d.Name, name)
	}
	if d.Stock, err = doc.stock(); err != nil {
		return nil, false, err
	}
	if err = doc.buffers(d, ours); err != nil {
		return nil, false, err
	}
	if doc.Count != nil && *doc.Count != uint64(len(d.Buffers)) {
		return nil, false, badDocument("field \"/buffer_count\" is %d, and there are %d buffers", *doc.Count, len(d.Buffers))
	}
	whole := *d
	if !ours {
		whole.Instance = types.InstanceID{1} // the one thing that a legacy descriptor may lack
	}
	if err = whole.Validate(); err != nil {
		return nil, false, err
	}
	return d, legacy, nil
}

// DecodeStockRPC reads the document below mooncake/<cluster>/rpc_meta/.
func DecodeStockRPC(b []byte) (StockRPC, error) {
	doc, err := decodeStrict[rpcJSON]("rpc_meta", b, MaxHeadBytes)
	switch {
	case err != nil:
		return StockRPC{}, err
	case doc.Host == "" || !isText(doc.Host, MaxAddressLen):
		return StockRPC{}, invalidDocument("rpc_meta", fmt.Sprintf("field \"/ip_or_host_name\" is %.80q", doc.Host))
	case doc.Port == 0:
		return StockRPC{}, invalidDocument("rpc_meta", `field "/rpc_port" is missing or 0`)
	}
	return StockRPC(*doc), nil
}

func (doc *stockJSON) head() (*Descriptor, error) {
	if doc.Name == "" {
		return nil, badDocument(`field "/name" is missing or empty`)
	}
	d := &Descriptor{Head: Head{
		Name: doc.Name, Label: doc.Label, Epoch: doc.Epoch, StoreID: doc.StoreID, Version: max(1, types.Version(doc.Version)),
		Addresses: some(doc.Addresses), Data: some(doc.Data), Digest: doc.Digest,
	}}
	if doc.Instance != "" {
		var err error
		if d.Instance, err = parseInstance(doc.Instance); err != nil {
			return nil, badDocument("field \"/instance_id\": %v", err)
		}
	}
	if doc.Devices != nil {
		for _, dev := range *doc.Devices {
			d.Devices = append(d.Devices, dev.device())
		}
	}
	return d, nil
}

func (doc *stockJSON) stock() (*Stock, error) {
	s := &Stock{
		Protocols: doc.Protocol, TCPHost: doc.TCPHost, TCPProto: 1, RDMAServerName: doc.RDMAServerName, Timestamp: doc.Timestamp,
	}
	for _, p := range s.Protocols {
		if p == "" || !isText(p, MaxDeviceLen) {
			return nil, badDocument("field \"/protocol\" has %.40q", p)
		}
	}
	if len(s.Protocols) == 0 {
		return nil, badDocument(`field "/protocol" is missing`)
	}
	for _, t := range []struct{ name, text string }{
		{"tcp_data_host", s.TCPHost}, {"rdma_server_name", s.RDMAServerName}, {"timestamp", s.Timestamp},
	} {
		if !isText(t.text, MaxNameLen) {
			return nil, badDocument("field \"/%s\" is not printable UTF-8 of at most %d bytes", t.name, MaxNameLen)
		}
	}
	if doc.TCPProto != nil {
		if *doc.TCPProto < 0 || *doc.TCPProto > 1<<16 {
			return nil, badDocument("field \"/tcp_proto_version\" is %d", *doc.TCPProto)
		}
		s.TCPProto = int(*doc.TCPProto)
	}
	switch { // transports without TCP leave anything there
	case doc.TCPPort >= 0 && doc.TCPPort <= 65535:
		s.TCPPort = uint16(doc.TCPPort)
	case slices.Contains(s.Protocols, "tcp"):
		return nil, badDocument("field \"/tcp_data_port\" is %d", doc.TCPPort)
	}
	if len(doc.PriorityMatrix) > maxMatrixBytes {
		return nil, badDocument("field \"/priority_matrix\" has %d bytes, at most %d", len(doc.PriorityMatrix), maxMatrixBytes)
	}
	if len(doc.PriorityMatrix) > 0 {
		if err := json.Unmarshal(doc.PriorityMatrix, &s.PriorityMatrix); err != nil {
			return nil, badDocument("field \"/priority_matrix\": %s", explain(err))
		}
	}
	return s, nil
}

// buffers fills in the buffers. Keys are kept where they are those of verbs; other fabrics' are of no use to us.
func (doc *stockJSON) buffers(d *Descriptor, ours bool) error {
	if len(doc.Buffers) > 0 {
		d.Buffers = make([]Buffer, len(doc.Buffers))
	}
	for i := range doc.Buffers {
		in, out := &doc.Buffers[i], &d.Buffers[i]
		*out = Buffer{ID: types.BufferID(in.ID), Length: in.Length, Addr: in.Addr, Label: in.Label, Location: in.Name}
		if !ours {
			out.ID = types.BufferID(i + 1)
			if in.Name == doc.Name { // the stock TCP transport puts its server's name there
				out.Location = anyLocation
			}
		}
		var ok bool
		if out.State, ok = stockState(in.State); !ok {
			out.State = unheardState
		}
		if out.Perm, ok = stockPerm(in.Perm); !ok {
			return badDocument("field \"/buffers/%d/perm\" is %.40q, not r, w or rw", i, in.Perm)
		}
		verbs := in.Protocol == "rdma" || in.Protocol == "" && slices.Equal(doc.Protocol, protocols{"rdma"})
		if !verbs {
			continue
		}
		if in.RKey == nil || len(*in.RKey) != len(d.Devices) || len(d.Devices) == 0 {
			return badDocument("field \"/buffers/%d/rkey\" does not have one key for each of %d devices", i, len(d.Devices))
		}
		for _, k := range *in.RKey {
			if k > 1<<32-1 {
				return badDocument("field \"/buffers/%d/rkey\" has %d, which is no key of verbs", i, k)
			}
			out.Keys = append(out.Keys, uint32(k))
		}
	}
	return nil
}

func stockState(s string) (types.State, bool) {
	switch s {
	case "", types.Ready.String():
		return types.Ready, true
	case types.Draining.String():
		return types.Draining, true
	case types.Gone.String():
		return types.Gone, true
	case types.Quarantined.String():
		return types.Quarantined, true
	}
	return types.StateUnknown, false
}

func stockPerm(s string) (types.Perm, bool) {
	switch s {
	case "", types.PermReadWrite.String():
		return types.PermReadWrite, true
	case types.PermRead.String():
		return types.PermRead, true
	case types.PermWrite.String():
		return types.PermWrite, true
	}
	return 0, false
}

func badDocument(format string, args ...any) error {
	return invalidDocument("stock descriptor", fmt.Sprintf(format, args...))
}
