package descriptor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"mooncake_te/gocore/errcode"
)

// EncodeStock writes a descriptor for stock readers, and ours: ram/<segment>, and rpc_meta/<segment> if the options have
// an RPC port. What is written is the normalized copy. Local keys are never written: where stock readers want one for each
// remote key, zeros stand (they refuse a descriptor with another number of them, and use none).
//
// Errors: INVALID_ARGUMENT for what stock readers could not read (a buffer without address, say), METADATA_INVALID for a
// descriptor that is not valid, RESOURCE_EXHAUSTED above MaxStockPublish.
func EncodeStock(d *Descriptor, o StockOptions) ([]StockKV, error) {
	d = d.Normalized()
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if d.Name == "" {
		return nil, badStock("the segment has no name")
	}
	if o.Protocol == "" {
		o.Protocol = "tcp"
		if len(d.Devices) > 0 {
			o.Protocol = "rdma"
		}
	}
	if o.TCPHost == "" {
		o.TCPHost = hostOf(d)
	}
	if o.TCPHost == "" && o.RPC.Port == 0 {
		return nil, badStock("there is no host: stock readers look for one here or in rpc_meta")
	}
	doc := stockHead(d, o)
	switch o.Protocol {
	case "rdma":
		if err := stockRails(doc, d, o); err != nil {
			return nil, err
		}
	case "tcp":
	default:
		return nil, badStock(fmt.Sprintf("protocol %.40q is neither tcp nor rdma", o.Protocol))
	}
	for i := range d.Buffers {
		b, err := stockBufferOf(&d.Buffers[i], len(d.Devices), o.Protocol)
		if err != nil {
			return nil, err
		}
		doc.Buffers = append(doc.Buffers, b)
	}
	value, err := json.Marshal(doc, json.Deterministic(true))
	if err != nil {
		return nil, badStock(err.Error())
	}
	if len(value) > MaxStockPublish {
		return nil, errcode.New(errcode.ResourceExhausted, "publish for stock readers",
			fmt.Sprintf("the descriptor of %d buffers takes %d bytes, at most %d fit into a store", len(d.Buffers), len(value), MaxStockPublish)).
			WithHint("register fewer, larger buffers, or publish without interop: heads do not grow with the buffers")
	}
	out := []StockKV{{Key: "ram/" + d.Name, Value: value}}
	if o.RPC.Port != 0 {
		value, err = json.Marshal(&rpcJSON{Host: o.RPC.Host, Port: o.RPC.Port})
		if err != nil {
			return nil, badStock(err.Error())
		}
		out = append(out, StockKV{Key: "rpc_meta/" + d.Name, Value: value})
	}
	return out, nil
}

// hostOf is the first address that peers are told, without port and brackets.
func hostOf(d *Descriptor) string {
	for _, a := range slices.Concat(d.Data, d.Addresses) {
		return strings.Trim(a[:strings.LastIndexByte(a, ':')], "[]")
	}
	return ""
}

func stockHead(d *Descriptor, o StockOptions) *stockJSON {
	proto, count := int64(o.TCPProto), uint64(len(d.Buffers))
	if proto == 0 {
		proto = 2
	}
	return &stockJSON{
		Name: d.Name, Protocol: protocols{o.Protocol}, TCPHost: o.TCPHost, TCPPort: int64(o.TCPPort), TCPProto: &proto,
		Timestamp: o.Now.Format(stockTimeLayout), RDMAServerName: o.RDMAServerName,
		Instance: d.Instance.String(), Epoch: d.Epoch, StoreID: d.StoreID, Version: uint64(d.Version), Label: d.Label,
		Addresses: d.Addresses, Data: d.Data, Count: &count, Digest: d.Head.Digest,
	}
}

// stockRails writes what peers need to choose a device.
func stockRails(doc *stockJSON, d *Descriptor, o StockOptions) error {
	devices, matrix := list[stockDevice]{}, o.PriorityMatrix
	var names []string
	for _, dev := range d.Devices {
		if dev.GID == "" {
			return badStock(fmt.Sprintf("device %s has no GID", dev.Name))
		}
		devices = append(devices, stockDevice{Name: dev.Name, LID: dev.LID, GID: dev.GID})
		names = append(names, dev.Name)
	}
	if matrix == nil {
		matrix = map[string][][]string{anyLocation: {names, {}}}
	}
	doc.Devices = &devices
	var err error
	doc.PriorityMatrix, err = json.Marshal(matrix, json.Deterministic(true))
	return err
}

func stockBufferOf(b *Buffer, devices int, protocol string) (stockBuffer, error) {
	out := stockBuffer{
		Name: b.Location, Addr: b.Addr, Length: b.Length,
		ID: uint64(b.ID), State: b.State.String(), Perm: b.Perm.String(), Label: b.Label,
	}
	switch {
	case b.Addr == 0:
		return out, badStock(fmt.Sprintf("buffer %d has no address", b.ID))
	case protocol != "rdma":
		return out, nil
	case len(b.Keys) != devices || devices == 0:
		return out, badStock(fmt.Sprintf("buffer %d has %d keys for %d devices", b.ID, len(b.Keys), devices))
	}
	remote, local := make(list[stockKey], 0, devices), make(list[stockKey], devices)
	for _, k := range b.Keys {
		remote = append(remote, stockKey(k))
	}
	out.RKey, out.LKey = &remote, &local
	return out, nil
}

func badStock(detail string) error {
	return errcode.New(errcode.InvalidArgument, "publish for stock readers", detail).
		WithHint("stock readers refuse a descriptor without it; publish without interop if none of them reads this segment")
}
