package descriptor

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/types"
)

func TestDiffTellsEveryField(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Descriptor)
		want   []Change
	}{
		"nothing": {func(*Descriptor) {}, []Change{}},
		"version": {func(d *Descriptor) { d.Version = 43 }, []Change{{What: "version", From: "42", To: "43"}}},
		"epoch":   {func(d *Descriptor) { d.Epoch = 0 }, []Change{{What: "epoch", From: "7", To: ""}}},
		"store":   {func(d *Descriptor) { d.StoreID = "" }, []Change{{What: "store", From: d32, To: ""}}},
		"name":    {func(d *Descriptor) { d.Name = "d" }, []Change{{What: "name", From: "decode-0", To: "d"}}},
		"label":   {func(d *Descriptor) { d.Label = "d" }, []Change{{What: "label", To: "d"}}},
		"address": {func(d *Descriptor) { d.Addresses[0] = "[::2]:1" },
			[]Change{{What: "address", From: "127.0.0.1:7000"}, {What: "address", To: "[::2]:1"}}},
		"address order": {func(d *Descriptor) { slices.Reverse(d.Addresses) }, []Change{}},
		"data":          {func(d *Descriptor) { d.Data = nil }, []Change{{What: "data_address", From: "node-a.example:7001"}}},
		"gid": {func(d *Descriptor) { d.Devices[1].GID = "::3" },
			[]Change{{What: "device", From: "mlx5_1 lid 7 gid fe80:0000:0000:0000:0000:0000:0000:0002"}, {What: "device", To: "mlx5_1 lid 7 gid ::3"}}},
		"state":    {func(d *Descriptor) { d.Buffers[0].State = types.Draining }, []Change{{What: "state", Buffer: 1, From: "READY", To: "DRAINING"}}},
		"length":   {func(d *Descriptor) { d.Buffers[0].Length = 1 }, []Change{{What: "length", Buffer: 1, From: "4096", To: "1"}}},
		"perm":     {func(d *Descriptor) { d.Buffers[0].Perm = types.PermReadWrite }, []Change{{What: "perm", Buffer: 1, From: "r", To: "rw"}}},
		"location": {func(d *Descriptor) { d.Buffers[1].Location = "cpu:1" }, []Change{{What: "location", Buffer: 9, From: "*", To: "cpu:1"}}},
		"named":    {func(d *Descriptor) { d.Buffers[1].Label = "x" }, []Change{{What: "buffer_label", Buffer: 9, To: "x"}}},
		"memory":   {func(d *Descriptor) { d.Buffers[0].Addr = 0 }, []Change{{What: "memory", Buffer: 1, From: "0x7f0000000000"}}},
		"keys":     {func(d *Descriptor) { d.Buffers[0].Keys = []uint32{1, 2} }, []Change{{What: "keys", Buffer: 1, From: "2 keys", To: "2 keys"}}},
		"gone":     {func(d *Descriptor) { d.Buffers = d.Buffers[1:] }, []Change{{What: "buffer", Buffer: 1, From: `READY 4096 bytes r cpu:0 "kv"`}}},
		"added": {func(d *Descriptor) {
			d.Buffers = append(d.Buffers, Buffer{ID: 10, Length: 5, State: types.Ready, Perm: types.PermWrite, Location: "*"})
		},
			[]Change{{What: "buffer", Buffer: 10, To: "READY 5 bytes w *"}}},
		"moved": {func(d *Descriptor) { d.Buffers[0].ID = 2 }, []Change{
			{What: "buffer", Buffer: 1, From: `READY 4096 bytes r cpu:0 "kv"`}, {What: "buffer", Buffer: 2, To: `READY 4096 bytes r cpu:0 "kv"`}}},
		"replaced node": {func(d *Descriptor) { d.Instance, d.Buffers = types.InstanceID{9}, d.Buffers[1:] }, []Change{
			{What: "instance", From: "01020300000000000000000000000000", To: "09000000000000000000000000000000"},
			{What: "buffer", Buffer: 1, From: `READY 4096 bytes r cpu:0 "kv"`}, {What: "buffer", Buffer: 9, From: "DRAINING 1 bytes rw *"},
			{What: "buffer", Buffer: 9, To: "DRAINING 1 bytes rw *"}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := published("rdma")
			c.change(b)
			require.Equal(t, c.want, Diff(published("rdma"), b))
		})
	}
}

const d32 = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"

func TestDiffOfFirstAndLast(t *testing.T) {
	first := Diff(nil, published("rdma"))
	last := Diff(published("rdma"), nil)
	require.Len(t, last, len(first))
	for i, c := range first {
		require.Empty(t, c.From)
		require.Equal(t, Change{What: c.What, Buffer: c.Buffer, From: c.To}, last[i])
	}
	require.Empty(t, Diff(nil, nil))
}

func TestDiffWithAHeadAlone(t *testing.T) {
	whole, head := published("rdma"), published("rdma")
	head.Buffers, head.Head.Buffers = nil, 2
	require.Empty(t, Diff(whole, head))
	head.Head.Buffers, head.Version = 3, 43
	require.Equal(t, []Change{{What: "version", From: "42", To: "43"}, {What: "buffer_count", From: "2", To: "3"}}, Diff(whole, head))
	require.Equal(t, []Change{{What: "version", From: "43", To: "42"}, {What: "buffer_count", From: "3", To: "2"}}, Diff(head, whole))
}

// No difference is told exactly if the digests agree, order of addresses and devices aside.
func TestDiffAgreesWithDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() *Descriptor {
			d := published("rdma")
			d.Version += types.Version(rapid.IntRange(0, 1).Draw(t, "version"))
			for i := range d.Buffers {
				d.Buffers[i].State = rapid.SampledFrom([]types.State{types.Ready, types.Draining}).Draw(t, "state")
				d.Buffers[i].Keys[0] = uint32(rapid.IntRange(0, 1).Draw(t, "key"))
			}
			d.Buffers = d.Buffers[rapid.IntRange(0, 2).Draw(t, "gone"):]
			return d
		}
		a, b := draw(), draw()
		require.Equal(t, a.Digest() == b.Digest(), len(Diff(a, b)) == 0)
	})
}
