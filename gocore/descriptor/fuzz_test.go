package descriptor

import (
	"encoding/binary"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// FuzzValidate: a descriptor of any content is refused with METADATA_INVALID or is safe to use: its buffers are found by
// ID, its texts can be shown, and its digest tells it from another.
func FuzzValidate(f *testing.F) {
	f.Add("name", "", "127.0.0.1:1", "gpu", "cuda:0", uint64(1), []byte{1, 0, 2, 3})
	f.Add("", "0123456789abcdef0123456789abcdef", "[::1]:65535", "", "*", uint64(1)<<52, []byte{1, 1, 1, 1})
	f.Add("\xff", "x", "a:b:c", "\n", "cpu", uint64(0), []byte{2, 0, 1, 1})
	f.Fuzz(func(t *testing.T, name, store, address, label, location string, version uint64, buffers []byte) {
		d := &Descriptor{Head: Head{
			Name: name, Instance: types.InstanceID{1}, StoreID: store, Version: types.Version(version),
			Addresses: []string{address}, Data: []string{address},
		}}
		for ; len(buffers) >= 4; buffers = buffers[4:] {
			d.Buffers = append(d.Buffers, Buffer{
				ID: types.BufferID(binary.LittleEndian.Uint16(buffers)), Length: uint64(buffers[2]),
				State: types.State(buffers[2] >> 5), Perm: types.Perm(buffers[3]), Label: label, Location: location,
			})
		}
		if err := d.Validate(); err != nil {
			require.Equal(t, errcode.MetadataInvalid, errcode.Of(err))
			require.True(t, utf8.ValidString(err.Error()))
			return
		}
		require.NoError(t, d.Head.Validate())
		for i := range d.Buffers {
			require.Equal(t, &d.Buffers[i], d.Find(d.Buffers[i].ID))
		}
		before := d.Digest()
		require.Equal(t, before, d.Digest())
		d.Version++
		require.NotEqual(t, before, d.Digest())
	})
}
