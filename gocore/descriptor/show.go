package descriptor

import (
	"fmt"

	"mooncake_te/gocore/types"
)

// Shown is a descriptor, or a head alone, as describe and the other tools print it in JSON. Its members have the names of
// those of the documents in a store; numbers that may pass 2^53 are decimal strings here too.
type Shown struct {
	Name        string        `json:"name"`
	Label       string        `json:"label"`
	Instance    string        `json:"instance_id"` // empty: a legacy peer
	Epoch       uint64        `json:"owner_epoch,string"`
	StoreID     string        `json:"store_id"`
	Version     uint64        `json:"metadata_version"`
	Legacy      bool          `json:"legacy"`
	Addresses   []string      `json:"addresses"`
	Data        []string      `json:"data_addresses"`
	Devices     []ShownDevice `json:"devices"`
	BufferCount uint64        `json:"buffer_count"`
	Digest      string        `json:"digest"` // of the descriptor, as its head gives it; as computed where there is no head
	Buffers     []ShownBuffer `json:"buffers,omitzero"`
	Stock       *ShownStock   `json:"stock,omitzero"`
}

// ShownDevice is a Device.
type ShownDevice struct {
	Name string `json:"name"`
	LID  uint16 `json:"lid"`
	GID  string `json:"gid"`
}

// ShownBuffer is a Buffer.
type ShownBuffer struct {
	ID       uint64   `json:"id,string"`
	Length   uint64   `json:"length"`
	State    string   `json:"state"`
	Perm     string   `json:"perm"`
	Label    string   `json:"label"`
	Location string   `json:"location"`
	Addr     uint64   `json:"addr,omitzero"`
	Keys     []uint32 `json:"rkey,omitzero"`
}

// ShownStock is a Stock.
type ShownStock struct {
	Protocols      []string              `json:"protocol"`
	TCPHost        string                `json:"tcp_data_host"`
	TCPPort        uint16                `json:"tcp_data_port"`
	TCPProto       int                   `json:"tcp_proto_version"`
	RDMAServerName string                `json:"rdma_server_name"`
	Timestamp      string                `json:"timestamp"`
	PriorityMatrix map[string][][]string `json:"priority_matrix"`
}

// ShowHead renders a head alone: it has no list of buffers.
func ShowHead(h *Head, legacy bool) Shown {
	s := Shown{
		Name: h.Name, Label: h.Label, Instance: instanceText(h.Instance), Epoch: h.Epoch, StoreID: h.StoreID,
		Version: uint64(h.Version), Legacy: legacy, Addresses: listed(h.Addresses), Data: listed(h.Data),
		Devices: []ShownDevice{}, BufferCount: h.Buffers, Digest: h.Digest,
	}
	for _, d := range h.Devices {
		s.Devices = append(s.Devices, ShownDevice(d))
	}
	return s
}

// Show renders a whole descriptor.
func Show(d *Descriptor, legacy bool) Shown {
	s := ShowHead(&d.Head, legacy)
	s.BufferCount, s.Buffers = uint64(len(d.Buffers)), make([]ShownBuffer, len(d.Buffers))
	if s.Digest == "" {
		s.Digest = d.DigestText()
	}
	for i := range d.Buffers {
		b := &d.Buffers[i]
		s.Buffers[i] = ShownBuffer{
			ID: uint64(b.ID), Length: b.Length, State: b.State.String(), Perm: b.Perm.String(), Label: b.Label,
			Location: b.Location, Addr: b.Addr, Keys: b.Keys,
		}
	}
	if d.Stock != nil {
		stock := ShownStock(*d.Stock)
		s.Stock = &stock
	}
	return s
}

// listed shows an empty list as one.
func listed(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// Descriptor takes back what Show or ShowHead made; unknown words are refused. What the Stock part says is not needed to
// compare and is left out.
func (s *Shown) Descriptor() (*Descriptor, error) {
	d := &Descriptor{Head: Head{
		Name: s.Name, Label: s.Label, Epoch: s.Epoch, StoreID: s.StoreID, Version: types.Version(s.Version),
		Addresses: some(s.Addresses), Data: some(s.Data), Buffers: s.BufferCount, Digest: s.Digest,
	}}
	if s.Instance != "" {
		var err error
		if d.Instance, err = parseInstance(s.Instance); err != nil {
			return nil, invalidDocument(shownKind, `field "/instance_id": `+err.Error())
		}
	}
	for _, dev := range s.Devices {
		d.Devices = append(d.Devices, Device(dev))
	}
	for i, b := range s.Buffers {
		out := Buffer{
			ID: types.BufferID(b.ID), Length: b.Length, Label: b.Label, Location: b.Location, Addr: b.Addr, Keys: b.Keys,
		}
		var known bool
		if out.State, known = stockState(b.State); !known {
			out.State = unheardState
		}
		if out.Perm, known = stockPerm(b.Perm); !known {
			return nil, invalidDocument(shownKind, fmt.Sprintf("field \"/buffers/%d/perm\" is %.40q, not r, w or rw", i, b.Perm))
		}
		d.Buffers = append(d.Buffers, out)
	}
	return d, nil
}

const shownKind = "shown descriptor"

// DecodeShown reads the JSON of a Shown.
func DecodeShown(b []byte) (*Descriptor, error) {
	s, err := decodeStrict[Shown](shownKind, b, MaxStockBytes)
	if err != nil {
		return nil, err
	}
	d, err := s.Descriptor()
	if err != nil {
		return nil, err
	}
	whole := *d
	if whole.Instance.IsZero() {
		whole.Instance = types.InstanceID{1} // a legacy peer
	}
	if d.headAlone() {
		err = whole.Head.Validate()
	} else {
		err = whole.Validate()
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}
