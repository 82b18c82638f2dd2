package descriptor

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// stockJSON is the document below mooncake/<cluster>/ram/: stock members first, with stock names and meaning, then ours,
// which stock readers skip.
type stockJSON struct {
	Name           string             `json:"name"`
	Protocol       protocols          `json:"protocol"`
	TCPHost        string             `json:"tcp_data_host,omitzero"`
	TCPPort        int64              `json:"tcp_data_port"`
	TCPProto       *int64             `json:"tcp_proto_version,omitzero"`
	Timestamp      string             `json:"timestamp"`
	RDMAServerName string             `json:"rdma_server_name,omitzero"`
	Devices        *list[stockDevice] `json:"devices,omitzero"`
	Buffers        list[stockBuffer]  `json:"buffers"`
	PriorityMatrix jsontext.Value     `json:"priority_matrix,omitzero"`

	Instance  string   `json:"instance_id,omitzero"`
	Epoch     uint64   `json:"owner_epoch,string,omitzero"`
	StoreID   string   `json:"store_id,omitzero"`
	Version   uint64   `json:"metadata_version,omitzero"`
	Label     string   `json:"label,omitzero"`
	Addresses []string `json:"addresses,omitempty"`
	Data      []string `json:"data_addresses,omitempty"`
	Count     *uint64  `json:"buffer_count,omitzero"`
	Digest    string   `json:"digest,omitzero"`
}

type stockDevice struct {
	Name string `json:"name"`
	LID  uint16 `json:"lid"`
	GID  string `json:"gid"`
	EID  string `json:"eid,omitzero"` // ub has this instead of a GID
}

func (stockDevice) most() int { return MaxDevices }

func (d stockDevice) check() error { return checkDevice(d.device()) }

func (d stockDevice) device() Device {
	if d.GID == "" {
		return Device{Name: d.Name, LID: d.LID, GID: d.EID}
	}
	return Device{Name: d.Name, LID: d.LID, GID: d.GID}
}

// maxStockBuffers bounds what a document of MaxStockBytes can make us allocate to some 100 MB; as many real buffers do
// not fit into one anyway.
const maxStockBuffers = 1 << 18

type stockBuffer struct {
	Name     string          `json:"name"`
	Addr     uint64          `json:"addr,omitzero"`
	Length   uint64          `json:"length"`
	Protocol string          `json:"protocol,omitzero"` // where Protocol of the segment is a list
	RKey     *list[stockKey] `json:"rkey,omitzero"`
	LKey     *list[stockKey] `json:"lkey,omitzero"`

	ID    uint64 `json:"id,string,omitzero"`
	State string `json:"state,omitzero"`
	Perm  string `json:"perm,omitzero"`
	Label string `json:"label,omitzero"`
}

func (stockBuffer) most() int { return maxStockBuffers }

func (b stockBuffer) check() error {
	if b.Length == 0 {
		return fmt.Errorf("a buffer without length")
	}
	return nil
}

// stockKey is wide enough for libfabric, whose keys are of 64 bits.
type stockKey uint64

func (stockKey) most() int    { return MaxDevices }
func (stockKey) check() error { return nil }

// protocols is one name, or a list of them from builds that join transports.
type protocols []string

// maxProtocols is more than there are.
const maxProtocols = 32

// MarshalJSONTo implements json.MarshalerTo.
func (p protocols) MarshalJSONTo(to *jsontext.Encoder) error {
	if len(p) == 1 {
		return to.WriteToken(jsontext.String(p[0]))
	}
	return json.MarshalEncode(to, []string(p))
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *protocols) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	if from.PeekKind() == '"' {
		one, err := from.ReadToken()
		*p = protocols{one.String()}
		return err
	}
	if err := json.UnmarshalDecode(from, (*[]string)(p)); err != nil {
		return err
	}
	if len(*p) > maxProtocols {
		return fmt.Errorf("%d protocols, at most %d", len(*p), maxProtocols)
	}
	return nil
}

// rpcJSON is the document below mooncake/<cluster>/rpc_meta/.
type rpcJSON struct {
	Host string `json:"ip_or_host_name"`
	Port uint16 `json:"rpc_port"`
}
