package tcp

import (
	"encoding/binary"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/types"
)

// entryLen is the size of a table entry, failureLen that of a failure in a reply, in bytes.
const (
	entryLen   = 24
	failureLen = 16
	sumLen     = 4
)

// Entry is one block of a request: [Off, Off+Len) of the registration behind Buffer.
type Entry struct {
	Buffer types.BufferID
	Off    uint64
	Len    uint64
}

func appendEntry(b []byte, e Entry) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Buffer))
	b = binary.LittleEndian.AppendUint64(b, e.Off)
	return binary.LittleEndian.AppendUint64(b, e.Len)
}

// AppendTable writes the entries and the checksum after them.
func AppendTable(b []byte, entries []Entry) []byte {
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	return appendSum(b, len(entries)*entryLen)
}

// tableDecoder takes a table as its bytes arrive, so that memory grows with what the peer really sent.
type tableDecoder struct {
	count int    // entries to come in all
	total uint64 // what their lengths must add up to
	sum   uint64
	crc   uint32
}

// feed decodes whole entries from b and returns how many bytes it took.
func (d *tableDecoder) feed(entries []Entry, b []byte) ([]Entry, int, *errcode.Error) {
	n := min(len(b)/entryLen, d.count-len(entries))
	d.crc = mem.CRC32CBytes(d.crc, b[:n*entryLen])
	for i := range n {
		p := b[i*entryLen:]
		e := Entry{
			Buffer: types.BufferID(binary.LittleEndian.Uint64(p)),
			Off:    binary.LittleEndian.Uint64(p[8:]),
			Len:    binary.LittleEndian.Uint64(p[16:]),
		}
		if e.Len == 0 || e.Len > d.total-d.sum {
			return entries, 0, badFrame(errcode.InvalidArgument, "entry %d of length %d; %d bytes of %d are left",
				len(entries), e.Len, d.total-d.sum, d.total)
		}
		d.sum += e.Len
		entries = append(entries, e)
	}
	return entries, n * entryLen, nil
}

// finish checks the checksum that follows the last entry.
func (d *tableDecoder) finish(sum uint32) *errcode.Error {
	if sum != d.crc {
		return badFrame(errcode.Checksum, "the table's checksum does not match")
	}
	if d.sum != d.total {
		return badFrame(errcode.InvalidArgument, "the table covers %d bytes, the header says %d", d.sum, d.total)
	}
	return nil
}

// DecodeTable reads a whole table of count entries that cover total bytes, and its checksum.
func DecodeTable(b []byte, count int, total uint64) ([]Entry, *errcode.Error) {
	if count <= 0 || len(b)/entryLen < count || len(b) != count*entryLen+sumLen {
		return nil, badFrame(errcode.InvalidArgument, "a table of %d bytes for %d entries", len(b), count)
	}
	d := tableDecoder{count: count, total: total}
	entries, n, err := d.feed(make([]Entry, 0, count), b)
	if err != nil {
		return nil, err
	}
	return entries, d.finish(binary.LittleEndian.Uint32(b[n:]))
}

// Failure is the result of one entry that differs from the reply's status.
type Failure struct {
	Index   uint32
	Code    errcode.Code
	Applied uint64
}

// AppendFailures writes the failures and the checksum after them; nothing at all if there are none.
func AppendFailures(b []byte, failures []Failure) []byte {
	if len(failures) == 0 {
		return b
	}
	for _, f := range failures {
		b = binary.LittleEndian.AppendUint32(b, f.Index)
		b = binary.LittleEndian.AppendUint32(b, uint32(f.Code))
		b = binary.LittleEndian.AppendUint64(b, f.Applied)
	}
	return appendSum(b, len(failures)*failureLen)
}

// failureDecoder is tableDecoder for the failures of a reply: sorted by index, each a real failure.
type failureDecoder struct {
	count   int
	entries int // of the request
	next    uint64
	crc     uint32
}

func (d *failureDecoder) feed(out []Failure, b []byte) ([]Failure, int, *errcode.Error) {
	n := min(len(b)/failureLen, d.count-len(out))
	d.crc = mem.CRC32CBytes(d.crc, b[:n*failureLen])
	for i := range n {
		p := b[i*failureLen:]
		f := Failure{
			Index:   binary.LittleEndian.Uint32(p),
			Code:    errcode.Code(binary.LittleEndian.Uint32(p[4:])),
			Applied: binary.LittleEndian.Uint64(p[8:]),
		}
		if uint64(f.Index) < d.next || int(f.Index) >= d.entries || f.Code >= errcode.OK {
			return out, 0, badFrame(errcode.InvalidArgument, "failure %d names entry %d with code %d", len(out), f.Index, f.Code)
		}
		d.next = uint64(f.Index) + 1
		out = append(out, f)
	}
	return out, n * failureLen, nil
}

func (d *failureDecoder) finish(sum uint32) *errcode.Error {
	if sum != d.crc {
		return badFrame(errcode.Checksum, "the checksum of the failures does not match")
	}
	return nil
}

// DecodeFailures reads count failures of a request of so many entries, and their checksum.
func DecodeFailures(b []byte, count, entries int) ([]Failure, *errcode.Error) {
	if count <= 0 || count > entries || len(b)/failureLen < count || len(b) != count*failureLen+sumLen {
		return nil, badFrame(errcode.InvalidArgument, "%d bytes for %d failures of %d entries", len(b), count, entries)
	}
	d := failureDecoder{count: count, entries: entries}
	out, n, err := d.feed(make([]Failure, 0, count), b)
	if err != nil {
		return nil, err
	}
	return out, d.finish(binary.LittleEndian.Uint32(b[n:]))
}
