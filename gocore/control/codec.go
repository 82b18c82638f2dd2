package control

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxRecords bounds strings, bytes and sub-messages of one message, two levels deep. An empty one takes two bytes on
// the wire and some hundred when decoded, so the size of a message alone bounds no memory. Packed numbers are one
// record; they grow eightfold at most.
const maxRecords = MaxIDs + 512

var errTooManyRecords = errors.New("the message holds too many records")

// codec is protobuf with a count before anything is allocated.
type codec struct{}

func (codec) Name() string { return grpcproto.Name }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("cannot encode %T", v)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("cannot decode into %T", v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return decode(b.ReadOnlyData(), m)
}

func decode(b []byte, m proto.Message) error {
	if n := countRecords(b, 2); n > maxRecords {
		return errTooManyRecords
	}
	return proto.Unmarshal(b, m)
}

// countRecords counts length-delimited fields down to a depth. What looks like a sub-message may be a string; counting
// in it stops at the first byte that does not parse, so it can only count too many, and strings are short.
func countRecords(b []byte, depth int) int {
	total := 0
	for len(b) > 0 && total <= maxRecords {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return total
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
				return total
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return total
		}
		b = b[n:]
		total++
		if depth > 1 {
			total += countRecords(v, depth-1)
		}
	}
	return total
}

var _ encoding.CodecV2 = codec{}
