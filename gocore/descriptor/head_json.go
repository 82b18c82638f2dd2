package descriptor

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// The versions of the head's JSON that this library reads. A head says which it is (format) and the oldest reader that
// may use it (format_min): new fields leave format_min alone, for readers skip what they do not know.
const (
	HeadFormat    = 1
	headFormatMin = 1
)

// headJSON is a head as it lies in a store. Numbers that may pass 2^53 are decimal strings.
type headJSON struct {
	Format    uint32           `json:"format"`
	FormatMin uint32           `json:"format_min"`
	Name      string           `json:"name"`
	Label     string           `json:"label,omitzero"`
	Instance  string           `json:"instance_id"`
	Epoch     uint64           `json:"owner_epoch,string"`
	StoreID   string           `json:"store_id"`
	Version   uint64           `json:"metadata_version"`
	Addresses []string         `json:"addresses"`
	Data      []string         `json:"data_addresses"`
	Devices   list[deviceJSON] `json:"devices,omitempty"`
	Buffers   uint64           `json:"buffer_count"`
	Digest    string           `json:"digest,omitzero"`
}

// deviceJSON is a device in a head and in a stock descriptor alike.
type deviceJSON struct {
	Name string `json:"name"`
	LID  uint16 `json:"lid"`
	GID  string `json:"gid"`
}

func (deviceJSON) most() int { return MaxDevices }

func (d deviceJSON) check() error { return checkDevice(Device(d)) }

// EncodeHead writes a head for a store. It has to be valid (Validate); the same head gives the same bytes.
func EncodeHead(h *Head) []byte {
	doc := headJSON{
		Format: HeadFormat, FormatMin: headFormatMin,
		Name: h.Name, Label: h.Label, Instance: h.Instance.String(), Epoch: h.Epoch, StoreID: h.StoreID,
		Version: uint64(h.Version), Addresses: h.Addresses, Data: h.Data, Buffers: h.Buffers, Digest: h.Digest,
	}
	for _, d := range h.Devices {
		doc.Devices = append(doc.Devices, deviceJSON(d))
	}
	// Fails for nothing but texts that are not UTF-8, which a valid head does not have; they are mended instead.
	b, _ := json.Marshal(&doc, jsontext.AllowInvalidUTF8(true), json.Deterministic(true))
	return b
}

// DecodeHead reads a head out of a store. What it returns is valid; errors are METADATA_INVALID naming the field, or
// VERSION_SKEW naming both sides' versions.
func DecodeHead(b []byte) (*Head, error) {
	doc, err := decodeStrict[headJSON]("head", b, MaxHeadBytes)
	if err != nil {
		return nil, err
	}
	if doc.Format < headFormatMin || doc.FormatMin > HeadFormat {
		return nil, errcode.New(errcode.VersionSkew, "read head",
			fmt.Sprintf("field \"/format\": the head is of format %d for readers of %d or later, this library reads %d to %d",
				doc.Format, doc.FormatMin, headFormatMin, HeadFormat)).
			WithHint("upgrade the older of the two sides")
	}
	if doc.Name == "" {
		return nil, invalidDocument("head", `field "/name" is missing or empty`)
	}
	instance, err := parseInstance(doc.Instance)
	if err != nil {
		return nil, invalidDocument("head", `field "/instance_id": `+err.Error())
	}
	h := &Head{
		Name: doc.Name, Label: doc.Label, Instance: instance, Epoch: doc.Epoch, StoreID: doc.StoreID,
		Version: types.Version(doc.Version), Addresses: some(doc.Addresses), Data: some(doc.Data),
		Devices: devices(doc.Devices), Buffers: doc.Buffers, Digest: doc.Digest,
	}
	if err := h.Validate(); err != nil {
		return nil, err
	}
	return h, nil
}

// parseInstance takes exactly what InstanceID.String writes.
func parseInstance(s string) (types.InstanceID, error) {
	id, err := types.ParseInstanceID(s)
	if err != nil || id.IsZero() || id.String() != s {
		return types.InstanceID{}, fmt.Errorf("%.60q is not 32 lower-case hexadecimal digits of an instance", s)
	}
	return id, nil
}

func devices(in list[deviceJSON]) []Device {
	var out []Device
	for _, d := range in {
		out = append(out, Device(d))
	}
	return out
}

// some makes an empty list nil, so that what was encoded comes back equal.
func some(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}
