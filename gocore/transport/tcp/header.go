package tcp

import (
	"encoding/binary"
	"fmt"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/types"
)

// The protocol version we speak, and the range that we understand. The first eight bytes of a header and the place of
// its checksum are the same in all versions.
const (
	Version    = 1
	MinVersion = 1
	MaxVersion = 1
)

// HeaderLen is the size of a request's and of a reply's header in bytes.
const HeaderLen = 80

const (
	magicRequest = 0x5145544d // "MTEQ"
	magicReply   = 0x5245544d // "MTER"
)

// Opcode says what a request asks for.
type Opcode uint8

// The opcodes. OpHello claims the connection's token and learns who is there; OpAbort names a READ by its request ID.
const (
	OpRead  Opcode = 1
	OpWrite Opcode = 2
	OpHello Opcode = 3
	OpAbort Opcode = 4
)

// Flags of a request.
const (
	FlagVectored uint16 = 1 << 0 // Offset is the number of entries; a table follows
	FlagCRC      uint16 = 1 << 1 // chunks carry checksums
	FlagBulk     uint16 = 1 << 2 // class bulk, else latency

	knownFlags = FlagVectored | FlagCRC | FlagBulk
)

// Header starts every request.
type Header struct {
	Version   uint8
	Op        Opcode
	Flags     uint16
	RequestID uint64
	Target    types.InstanceID
	Token     types.PathID
	Buffer    types.BufferID // 0 if vectored
	Offset    uint64         // number of entries if vectored
	Length    uint64         // sum of the entries' lengths
	Chunk     uint32         // largest chunk of payload in bytes
	Trace     uint32
}

// Append writes the 80 bytes.
func (h *Header) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, magicRequest)
	b = append(b, h.Version, byte(h.Op))
	b = binary.LittleEndian.AppendUint16(b, h.Flags)
	b = binary.LittleEndian.AppendUint64(b, h.RequestID)
	b = append(b, h.Target[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Token))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Buffer))
	b = binary.LittleEndian.AppendUint64(b, h.Offset)
	b = binary.LittleEndian.AppendUint64(b, h.Length)
	b = binary.LittleEndian.AppendUint32(b, h.Chunk)
	b = binary.LittleEndian.AppendUint32(b, h.Trace)
	b = binary.LittleEndian.AppendUint32(b, 0) // reserved
	return appendSum(b, HeaderLen-4)
}

// appendSum appends the CRC32C of the last n bytes.
func appendSum(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(b, mem.CRC32CBytes(0, b[len(b)-n:]))
}

// checkSum reports whether b ends with the CRC32C of what is before.
func checkSum(b []byte) bool {
	n := len(b) - 4
	return mem.CRC32CBytes(0, b[:n]) == binary.LittleEndian.Uint32(b[n:])
}

// Limits bound what a decoder accepts, before anything is allocated for it.
type Limits struct {
	Entries int    // of one table
	Chunk   uint32 // bytes
}

// smallest chunk size a request may ask for.
const minChunk = 4 << 10

// badFrame is a frame that breaks the protocol: the connection it came on is out of step and must be cut.
func badFrame(code errcode.Code, format string, args ...any) *errcode.Error {
	return errcode.New(code, "decode frame", fmt.Sprintf(format, args...))
}

// Decode reads the 80 bytes at the start of b. A wrong magic number is reported before anything else is looked at; a
// version out of range is VERSION_SKEW, and then only Version, Op and RequestID are set.
func (h *Header) Decode(b []byte, lim Limits) *errcode.Error {
	if len(b) < HeaderLen {
		return badFrame(errcode.InvalidArgument, "a header of %d bytes, want %d", len(b), HeaderLen)
	}
	b = b[:HeaderLen]
	if m := binary.LittleEndian.Uint32(b); m != magicRequest {
		return badFrame(errcode.InvalidArgument, "magic number %#x is not that of a request", m)
	}
	if !checkSum(b) {
		return badFrame(errcode.Checksum, "the header's checksum does not match")
	}
	h.Version, h.Op = b[4], Opcode(b[5])
	h.RequestID = binary.LittleEndian.Uint64(b[8:])
	if h.Version < MinVersion || h.Version > MaxVersion {
		return versionSkew(h.Version, MinVersion, MaxVersion)
	}
	h.Flags = binary.LittleEndian.Uint16(b[6:])
	copy(h.Target[:], b[16:32])
	h.Token = types.PathID(binary.LittleEndian.Uint64(b[32:]))
	h.Buffer = types.BufferID(binary.LittleEndian.Uint64(b[40:]))
	h.Offset = binary.LittleEndian.Uint64(b[48:])
	h.Length = binary.LittleEndian.Uint64(b[56:])
	h.Chunk = binary.LittleEndian.Uint32(b[64:])
	h.Trace = binary.LittleEndian.Uint32(b[68:])
	return h.check(lim)
}

func versionSkew(theirs, lo, hi uint8) *errcode.Error {
	return badFrame(errcode.VersionSkew, "protocol version %d, this side speaks %d to %d", theirs, lo, hi).
		WithHint("upgrade the older side: neighbouring versions understand each other")
}

func (h *Header) check(lim Limits) *errcode.Error {
	switch {
	case h.Op < OpRead || h.Op > OpAbort:
		return badFrame(errcode.Unsupported, "opcode %d", h.Op)
	case h.Flags&^knownFlags != 0:
		return badFrame(errcode.Unsupported, "flags %#x", h.Flags&^knownFlags)
	case h.Token == 0:
		return badFrame(errcode.InvalidArgument, "token 0")
	case h.Op > OpWrite:
		if h.Length != 0 || h.Flags&FlagVectored != 0 {
			return badFrame(errcode.InvalidArgument, "opcode %d with a payload or a table", h.Op)
		}
		return nil
	case h.RequestID == 0:
		return badFrame(errcode.InvalidArgument, "request ID 0")
	case h.Length == 0 || h.Length > 1<<62:
		return badFrame(errcode.InvalidArgument, "length %d", h.Length)
	case h.Chunk < minChunk || h.Chunk > lim.Chunk:
		return badFrame(errcode.InvalidArgument, "chunk size %d, want %d to %d", h.Chunk, minChunk, lim.Chunk)
	case h.Flags&FlagVectored != 0 && (h.Offset == 0 || h.Offset > uint64(lim.Entries)):
		return badFrame(errcode.ResourceExhausted, "a table of %d entries, want 1 to %d", h.Offset, lim.Entries)
	case h.Flags&FlagVectored != 0 && h.Offset > h.Length:
		return badFrame(errcode.InvalidArgument, "%d entries for %d bytes", h.Offset, h.Length)
	}
	return nil
}

// Entries is how many entries the request has.
func (h *Header) Entries() int {
	if h.Flags&FlagVectored != 0 {
		return int(h.Offset)
	}
	return 1
}
