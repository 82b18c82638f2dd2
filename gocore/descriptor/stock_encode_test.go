package descriptor

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestEncodeStockNormalizesACopy(t *testing.T) {
	d := published("tcp")
	d.Version = 0
	d.Buffers[1].State, d.Buffers[1].Location = types.StateUnknown, ""
	before := *d
	before.Buffers = slices.Clone(d.Buffers)
	kvs, err := EncodeStock(d, stockOptions("tcp"))
	require.NoError(t, err)
	require.Equal(t, &before, d, "the caller's object stays as it is")
	back, legacy, err := DecodeStock("", kvs[0].Value)
	require.NoError(t, err)
	require.False(t, legacy)
	require.Equal(t, types.Version(1), back.Version)
	require.Equal(t, types.Ready, back.Buffers[1].State)
	require.Equal(t, "*", back.Buffers[1].Location)

	whole := published("tcp")
	require.Same(t, whole, whole.Normalized())
}

func TestEncodeStockRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Descriptor, *StockOptions)
		code   errcode.Code
		says   string
	}{
		"no name": {func(d *Descriptor, _ *StockOptions) { d.Name = "" }, errcode.InvalidArgument, "no name"},
		"no host": {func(d *Descriptor, o *StockOptions) { d.Data, d.Addresses, o.TCPHost, o.RPC.Port = nil, nil, "", 0 },
			errcode.InvalidArgument, "no host"},
		"no address": {func(d *Descriptor, _ *StockOptions) { d.Buffers[1].Addr = 0 }, errcode.InvalidArgument, "buffer 9 has no address"},
		"no keys":    {func(d *Descriptor, _ *StockOptions) { d.Buffers[1].Keys = nil }, errcode.InvalidArgument, "buffer 9 has 0 keys for 2 devices"},
		"no devices": {func(d *Descriptor, _ *StockOptions) { d.Devices, d.Buffers[0].Keys, d.Buffers[1].Keys = nil, nil, nil },
			errcode.InvalidArgument, "buffer 1 has 0 keys for 0 devices"},
		"no GID":    {func(d *Descriptor, _ *StockOptions) { d.Devices[1].GID = "" }, errcode.InvalidArgument, "mlx5_1 has no GID"},
		"protocol":  {func(_ *Descriptor, o *StockOptions) { o.Protocol = "nvlink" }, errcode.InvalidArgument, "nvlink"},
		"not valid": {func(d *Descriptor, _ *StockOptions) { d.Buffers[1].ID = 1 }, errcode.MetadataInvalid, "unique"},
		"too large": {func(d *Descriptor, _ *StockOptions) {
			last := d.Buffers[1]
			for i := range 20_000 {
				last.ID = types.BufferID(10 + i)
				d.Buffers = append(d.Buffers, last)
			}
		}, errcode.ResourceExhausted, "fewer, larger buffers"},
	} {
		t.Run(name, func(t *testing.T) {
			d, o := published("rdma"), stockOptions("rdma")
			c.change(d, &o)
			kvs, err := EncodeStock(d, o)
			require.True(t, kvs == nil)
			require.Equal(t, c.code, errcode.Of(err))
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestEncodeStockTakesTheHostFromAnAddress(t *testing.T) {
	d := published("tcp")
	for _, want := range []string{"node-a.example", "127.0.0.1", "::1"} {
		kvs, err := EncodeStock(d, StockOptions{})
		require.NoError(t, err)
		back, _, err := DecodeStock("", kvs[0].Value)
		require.NoError(t, err)
		require.Equal(t, want, back.Stock.TCPHost)
		if d.Data == nil {
			d.Addresses = d.Addresses[1:]
		}
		d.Data = nil
	}
}

func TestStockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		protocol := rapid.SampledFrom([]string{"tcp", "rdma"}).Draw(t, "protocol")
		d := published(protocol)
		d.Epoch = rapid.Uint64().Draw(t, "epoch")
		d.Version = types.Version(rapid.Uint64Range(1, uint64(MaxVersion-1)).Draw(t, "version"))
		d.Label = rapid.SampledFrom([]string{"", "decoder", `"\`}).Draw(t, "label")
		d.Buffers = d.Buffers[:rapid.IntRange(0, 2).Draw(t, "buffers")]
		for i := range d.Buffers {
			b := &d.Buffers[i]
			b.ID += types.BufferID(rapid.Uint64Range(0, 1<<63).Draw(t, "id"))
			if i == 1 && b.ID <= d.Buffers[0].ID {
				b.ID = d.Buffers[0].ID + 1
			}
			b.State = rapid.SampledFrom([]types.State{types.Ready, types.Draining, types.Gone, types.Quarantined, unheardState}).Draw(t, "state")
			b.Perm = types.Perm(rapid.Uint8Range(1, 3).Draw(t, "perm"))
			b.Length = rapid.Uint64Range(1, 1<<60).Draw(t, "length")
			for k := range b.Keys {
				b.Keys[k] = rapid.Uint32().Draw(t, "key")
			}
		}
		if len(d.Buffers) == 0 {
			d.Buffers = nil
		}
		o := stockOptions(protocol)
		o.TCPPort = rapid.Uint16().Draw(t, "port")
		o.RDMAServerName = rapid.SampledFrom([]string{"", "rdma-0"}).Draw(t, "server")
		kvs, err := EncodeStock(d, o)
		require.NoError(t, err)
		back, legacy, err := DecodeStock(kvs[0].Key, kvs[0].Value)
		require.NoError(t, err)
		require.False(t, legacy)
		require.Equal(t, o.TCPPort, back.Stock.TCPPort)
		require.Equal(t, o.RDMAServerName, back.Stock.RDMAServerName)
		back.Stock = nil
		require.Equal(t, d, back)
	})
}
