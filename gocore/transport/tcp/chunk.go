package tcp

import (
	"encoding/binary"

	"mooncake_te/gocore/errcode"
)

// chunkLen is the size of a chunk header in bytes.
const chunkLen = 8

// Flags of a chunk. A chunk with ChunkLast or ChunkAbort has no bytes and ends the payload: the sender knows how it ended
// only when everything before was sent.
const (
	ChunkLast    uint16 = 1 << 0 // all bytes were sent
	ChunkAbort   uint16 = 1 << 1 // the sender gave up; no bytes follow
	ChunkCRC     uint16 = 1 << 2 // a CRC32C follows the bytes
	ChunkTrailer uint16 = 1 << 3 // a second reply follows (READ), which replaces the first

	knownChunkFlags = ChunkLast | ChunkAbort | ChunkCRC | ChunkTrailer
)

const chunkMark = 0x4b43 // "CK"

// Chunk is the header before each piece of payload.
type Chunk struct {
	Len   uint32
	Flags uint16
}

// Append writes the 8 bytes.
func (c Chunk) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, c.Len)
	b = binary.LittleEndian.AppendUint16(b, c.Flags)
	return binary.LittleEndian.AppendUint16(b, chunkMark)
}

// Ends reports whether this chunk ends the payload.
func (c Chunk) Ends() bool { return c.Flags&(ChunkLast|ChunkAbort) != 0 }

// Decode reads the 8 bytes at the start of b. limit is the request's chunk size, left what the payload still lacks; crc
// says whether the request agreed on checksums.
func (c *Chunk) Decode(b []byte, limit uint32, left uint64, crc bool) *errcode.Error {
	if len(b) < chunkLen {
		return badFrame(errcode.InvalidArgument, "a chunk header of %d bytes, want %d", len(b), chunkLen)
	}
	if m := binary.LittleEndian.Uint16(b[6:]); m != chunkMark {
		return badFrame(errcode.InvalidArgument, "%#x is not the mark of a chunk", m)
	}
	c.Len, c.Flags = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:])
	switch {
	case c.Flags&^knownChunkFlags != 0:
		return badFrame(errcode.Unsupported, "chunk flags %#x", c.Flags&^knownChunkFlags)
	case c.Ends():
		if c.Len != 0 || c.Flags&ChunkCRC != 0 || c.Flags&ChunkLast != 0 && (c.Flags&ChunkAbort != 0 || left != 0) {
			return badFrame(errcode.InvalidArgument, "a payload ends with flags %#x, length %d, %d bytes short", c.Flags, c.Len, left)
		}
	case c.Flags&ChunkTrailer != 0 || c.Flags&ChunkCRC != 0 != crc:
		return badFrame(errcode.InvalidArgument, "flags %#x on a chunk of payload", c.Flags)
	case c.Len == 0 || c.Len > limit || uint64(c.Len) > left:
		return badFrame(errcode.InvalidArgument, "a chunk of %d bytes; at most %d, %d are left", c.Len, limit, left)
	}
	return nil
}
