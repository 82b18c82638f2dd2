package tcp

import (
	"encoding/binary"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Flags of a reply.
const (
	ReplyPayload uint16 = 1 << 0 // the payload of a READ follows; without it this reply ends the request
	ReplyCRC     uint16 = 1 << 1 // its chunks carry checksums

	knownReplyFlags = ReplyPayload | ReplyCRC
)

// Reply answers a request. To OpHello, Applied is the range of versions spoken: lowest | highest<<8.
type Reply struct {
	Version   uint8
	Op        Opcode // of the request
	Flags     uint16
	RequestID uint64
	Responder types.InstanceID
	Applied   uint64 // bytes applied or returned
	Metadata  types.Version
	Floor     types.Version
	Status    errcode.Code
	Failures  uint32 // how many follow
}

// Append writes the 80 bytes.
func (r *Reply) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, magicReply)
	b = append(b, r.Version, byte(r.Op))
	b = binary.LittleEndian.AppendUint16(b, r.Flags)
	b = binary.LittleEndian.AppendUint64(b, r.RequestID)
	b = append(b, r.Responder[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.Applied)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Metadata))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Floor))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Status))
	b = binary.LittleEndian.AppendUint32(b, r.Failures)
	b = append(b, make([]byte, 12)...) // reserved
	return appendSum(b, HeaderLen-4)
}

// Decode reads the 80 bytes at the start of b, by the same rules as Header.Decode. On VERSION_SKEW, Version, Op,
// RequestID, Applied and Status are set.
func (r *Reply) Decode(b []byte, lim Limits) *errcode.Error {
	if len(b) < HeaderLen {
		return badFrame(errcode.InvalidArgument, "a reply of %d bytes, want %d", len(b), HeaderLen)
	}
	b = b[:HeaderLen]
	if m := binary.LittleEndian.Uint32(b); m != magicReply {
		return badFrame(errcode.InvalidArgument, "magic number %#x is not that of a reply", m)
	}
	if !checkSum(b) {
		return badFrame(errcode.Checksum, "the reply's checksum does not match")
	}
	r.Version, r.Op = b[4], Opcode(b[5])
	r.RequestID = binary.LittleEndian.Uint64(b[8:])
	r.Applied = binary.LittleEndian.Uint64(b[32:])
	r.Status = errcode.Code(binary.LittleEndian.Uint32(b[56:]))
	if r.Version < MinVersion || r.Version > MaxVersion {
		return versionSkew(r.Version, MinVersion, MaxVersion)
	}
	r.Flags = binary.LittleEndian.Uint16(b[6:])
	copy(r.Responder[:], b[16:32])
	r.Metadata = types.Version(binary.LittleEndian.Uint64(b[40:]))
	r.Floor = types.Version(binary.LittleEndian.Uint64(b[48:]))
	r.Failures = binary.LittleEndian.Uint32(b[60:])
	switch {
	case r.Op < OpRead || r.Op > OpAbort:
		return badFrame(errcode.Unsupported, "a reply to opcode %d", r.Op)
	case r.Flags&^knownReplyFlags != 0:
		return badFrame(errcode.Unsupported, "reply flags %#x", r.Flags&^knownReplyFlags)
	case r.Flags&ReplyPayload != 0 && (r.Op != OpRead || r.Status != errcode.OK):
		return badFrame(errcode.InvalidArgument, "a payload after a reply to opcode %d with status %v", r.Op, r.Status)
	case r.Status > errcode.OK:
		return badFrame(errcode.InvalidArgument, "status %d", r.Status)
	case uint64(r.Failures) > uint64(lim.Entries) || r.Failures != 0 && r.Status != errcode.OK:
		return badFrame(errcode.InvalidArgument, "%d failures with status %v", r.Failures, r.Status)
	}
	return nil
}
