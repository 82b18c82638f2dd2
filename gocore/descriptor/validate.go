package descriptor

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// More caps of a decoder.
const (
	// MaxVersion bounds metadata versions: 2^53 - 2^40 and above do not come from a clock or a counter of ours.
	MaxVersion = types.Version(1<<53 - 1<<40)
	// MaxAddressLen bounds one address; a host name has at most 253 characters.
	MaxAddressLen = 320
	// MaxLocationLen bounds Buffer.Location; stock writers name the NUMA nodes of all parts of a buffer there.
	MaxLocationLen = 256
	// MaxDeviceLen bounds Device.Name, MaxGIDLen Device.GID (an address of libfabric takes 64 digits).
	MaxDeviceLen = 64
	MaxGIDLen    = 128
)

// Validate checks everything that a reader relies on and returns METADATA_INVALID naming the first thing wrong. An
// unknown buffer state passes: it is kept as it is and never selected, so that a newer peer can be read.
func (d *Descriptor) Validate() error {
	if err := d.Head.Validate(); err != nil {
		return err
	}
	if len(d.Buffers) > MaxBuffers {
		return invalid("%d buffers, at most %d", len(d.Buffers), MaxBuffers)
	}
	if n := d.Head.Buffers; n != 0 && n != uint64(len(d.Buffers)) {
		return invalid("buffer_count is %d, and there are %d buffers", n, len(d.Buffers))
	}
	last := types.BufferID(0)
	for i := range d.Buffers {
		b := &d.Buffers[i]
		if b.ID <= last {
			return invalid("buffer %d (position %d) follows buffer %d: IDs must be positive, ascending and unique", b.ID, i, last)
		}
		last = b.ID
		if err := b.validate(); err != nil {
			return err
		}
		if len(b.Keys) != 0 && len(b.Keys) != len(d.Devices) {
			return invalid("buffer %d has %d keys for %d devices", b.ID, len(b.Keys), len(d.Devices))
		}
	}
	return nil
}

// Validate checks a head that stands alone.
func (h *Head) Validate() error {
	switch {
	case h.Instance.IsZero():
		return invalid("no instance ID")
	case h.Version == 0 || h.Version >= MaxVersion:
		return invalid("metadata version %d is outside 1..%d", h.Version, MaxVersion-1)
	case !isText(h.Name, MaxNameLen):
		return invalid("segment name %.40q is not printable UTF-8 of at most %d bytes", h.Name, MaxNameLen)
	case h.StoreID != "" && !isHex(h.StoreID, 32):
		return invalid("store ID %.40q is not 32 lower-case hexadecimal digits", h.StoreID)
	case !isText(h.Label, MaxLabelLen):
		return invalid("label %.40q is not printable UTF-8 of at most %d bytes", h.Label, MaxLabelLen)
	case h.Buffers > MaxBuffers:
		return invalid("buffer_count is %d, at most %d", h.Buffers, MaxBuffers)
	case h.Digest != "" && !isHex(h.Digest, 64):
		return invalid("digest %.80q is not 64 lower-case hexadecimal digits", h.Digest)
	case len(h.Devices) > MaxDevices:
		return invalid("%d devices, at most %d", len(h.Devices), MaxDevices)
	}
	for i, d := range h.Devices {
		if err := checkDevice(d); err != nil {
			return invalid("device %d: %v", i, err)
		}
	}
	for _, list := range [...]struct {
		kind  string
		addrs []string
	}{{"control", h.Addresses}, {"data", h.Data}} {
		if len(list.addrs) > MaxAddresses {
			return invalid("%d %s addresses, at most %d", len(list.addrs), list.kind, MaxAddresses)
		}
		for _, a := range list.addrs {
			if !isAddress(a) {
				return invalid("%s address %.80q is not host:port (IPv6 in brackets)", list.kind, a)
			}
		}
	}
	return nil
}

func (b *Buffer) validate() error {
	switch {
	case b.Length == 0:
		return invalid("buffer %d has no bytes", b.ID)
	case b.Addr != 0 && b.Addr+b.Length-1 < b.Addr:
		return invalid("buffer %d ends beyond the last address", b.ID)
	case b.Perm == 0 || b.Perm&^types.PermReadWrite != 0:
		return invalid("buffer %d has unknown permission bits %#x", b.ID, uint8(b.Perm))
	case !isText(b.Label, MaxLabelLen):
		return invalid("buffer %d: label %.40q is not printable UTF-8 of at most %d bytes", b.ID, b.Label, MaxLabelLen)
	case !isText(b.Location, MaxLocationLen):
		return invalid("buffer %d: location %.40q is not printable UTF-8 of at most %d bytes", b.ID, b.Location, MaxLocationLen)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return errcode.New(errcode.MetadataInvalid, "validate descriptor", fmt.Sprintf(format, args...)).
		WithHint("the last valid descriptor stays in use; check the version of the peer that published this one")
}

// isText accepts UTF-8 without control characters, so that names can be logged and shown as they are.
func isText(s string, most int) bool {
	if len(s) > most || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

// checkDevice bounds texts; what they mean is for the transport to say, and fabrics differ.
func checkDevice(d Device) error {
	switch {
	case d.Name == "" || !isText(d.Name, MaxDeviceLen) || strings.ContainsAny(d.Name, ` "\`):
		return fmt.Errorf("name %.40q is not 1 to %d characters without space or quote", d.Name, MaxDeviceLen)
	case !isText(d.GID, MaxGIDLen) || strings.ContainsAny(d.GID, ` "\`):
		return fmt.Errorf("gid %.80q is not printable, without space or quote, of at most %d bytes", d.GID, MaxGIDLen)
	}
	return nil
}

// isAddress is a check of form only; the one parser of addresses is netaddr, which a pure package does not need.
func isAddress(s string) bool {
	colon := strings.LastIndexByte(s, ':')
	if len(s) > MaxAddressLen || colon < 1 || !isText(s, MaxAddressLen) || strings.ContainsAny(s, ` /"\`) {
		return false
	}
	host, port := s[:colon], s[colon+1:]
	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") || host == "[]" {
		return false
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
