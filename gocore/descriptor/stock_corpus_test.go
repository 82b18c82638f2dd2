package descriptor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/types"
)

// Foreign documents of every transport of stock Mooncake; made from its format, but for tcp, which its wheel wrote.
func TestStockCorpus(t *testing.T) {
	type want struct {
		protocols, name string
		devices         []Device
		keys            [][]uint32
		states          []types.State
		lengths         []uint64
		located         []string
		version         types.Version
		proto           int
	}
	v4 := func(n int) string { return fmt.Sprintf("00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:%02x", n) }
	ready := types.Ready
	corpus := map[string]want{
		"rdma": {"rdma", "node-a:12345", []Device{{"mlx5_0", 0, v4(1)}, {"mlx5_1", 7, v4(2)}}, [][]uint32{{0x1ff6cb, 1<<32 - 1}, {5, 6}},
			[]types.State{ready, ready}, []uint64{1 << 30, 4096}, []string{"cpu:0", "cuda:0"}, 1, 2},
		"rdma_empty":   {protocols: "rdma", name: "node-o:12345", version: 1, proto: 2},
		"tcp":          {"tcp", "127.0.0.1:12345", nil, [][]uint32{nil, nil}, []types.State{ready, ready}, []uint64{8192, 100}, []string{"*", "*"}, 1, 2},
		"tcp_old":      {"tcp", "node-b", nil, [][]uint32{nil}, []types.State{ready}, []uint64{65536}, []string{"*"}, 1, 1},
		"nvlink":       {"nvlink", "node-c", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 21}, []string{"cuda:0"}, 1, 2},
		"nvlink_intra": {"nvlink_intra", "node-c", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 21}, []string{"cuda:1"}, 1, 2},
		"hip":          {"hip", "node-d", nil, [][]uint32{nil, nil}, []types.State{ready, ready}, []uint64{1 << 21, 4096}, []string{"hip:0", "cpu:0"}, 1, 2},
		"maca":         {"maca", "node-d", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 21}, []string{"maca:0"}, 1, 2},
		"ubshmem":      {"ubshmem", "node-e", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 21}, []string{"npu:0"}, 1, 2},
		"sunrise_link": {"sunrise_link", "node-e", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 21}, []string{"cuda:0"}, 1, 2},
		"ub": {"ub", "node-f", []Device{{"bonding_dev_0", 0, "0000:0000:0000:0000:0000:ffff:0a00:0001"}}, [][]uint32{nil},
			[]types.State{ready}, []uint64{1 << 20}, []string{"cpu:0"}, 1, 2},
		"cxl":    {"cxl", "node-g", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 30}, []string{"cxl"}, 1, 2},
		"ascend": {"ascend", "node-h:npu_0", []Device{{"node-h:npu_0", 0, ""}}, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 21}, []string{"npu:0"}, 1, 2},
		"efa": {"efa", "node-i:14000", []Device{{"rdmap16s27-rdm", 0, "fe80:0000:0000:0000:0cd6:8cff:fe9b:4d5f"}}, [][]uint32{nil},
			[]types.State{ready}, []uint64{1 << 30}, []string{"cuda:0"}, 1, 2},
		"cxi":    {"cxi", "node-j:14000", []Device{{"cxi0", 0, "00000000:0000002a"}}, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 30}, []string{"cpu:0"}, 1, 2},
		"barex":  {"barex", "node-k:14000", []Device{{"mlx5_bond_0", 0, v4(9)}}, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 30}, []string{"cpu:0"}, 1, 2},
		"nccl":   {"nccl", "node-l", nil, [][]uint32{nil}, []types.State{ready}, []uint64{4096}, []string{"cuda:0"}, 1, 2},
		"nvmeof": {"nvmeof", "nvmeof/files-0", nil, [][]uint32{nil}, []types.State{ready}, []uint64{1 << 40}, []string{""}, 1, 1},
		"multi": {"rdma,tcp,cxl", "node-n", []Device{{"mlx5_0", 0, v4(1)}}, [][]uint32{{77}, nil, nil},
			[]types.State{ready, ready, ready}, []uint64{4096, 4096, 4096}, []string{"cpu:0", "*", "cxl"}, 1, 2},
		"version_only": {"tcp", "node-p", nil, [][]uint32{nil, nil, nil}, []types.State{ready, types.Draining, unheardState},
			[]uint64{4096, 4096, 4096}, []string{"*", "*", "*"}, 1782400000000000, 2},
	}
	files, err := filepath.Glob("testdata/stock/*.json")
	require.NoError(t, err)
	require.Len(t, files, len(corpus))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			w, ok := corpus[name]
			require.True(t, ok)
			doc, err := os.ReadFile(file)
			require.NoError(t, err)
			d, legacy, err := DecodeStock("ram/whatever", doc)
			require.NoError(t, err)
			require.True(t, legacy)
			require.True(t, d.Instance.IsZero(), "an identity is never made up")
			require.Equal(t, w.name, d.Name)
			require.Equal(t, w.version, d.Version)
			require.Equal(t, w.protocols, strings.Join(d.Stock.Protocols, ","))
			require.Equal(t, w.proto, d.Stock.TCPProto)
			require.Equal(t, w.devices, d.Devices)
			require.Len(t, d.Buffers, len(w.lengths))
			for i, b := range d.Buffers {
				require.Equal(t, types.BufferID(i+1), b.ID)
				require.Equal(t, types.PermReadWrite, b.Perm)
				require.Equal(t, w.lengths[i], b.Length)
				require.Equal(t, w.states[i], b.State)
				require.Equal(t, w.located[i], b.Location)
				require.Equal(t, w.keys[i], b.Keys)
			}
		})
	}
}

func TestStockRealDocument(t *testing.T) {
	doc, err := os.ReadFile("testdata/stock/tcp.json")
	require.NoError(t, err)
	d, _, err := DecodeStock("mooncake/ram/127.0.0.1:12345", doc)
	require.NoError(t, err)
	require.Equal(t, &Stock{Protocols: []string{"tcp"}, TCPHost: "192.0.2.2", TCPPort: 15830, TCPProto: 2, Timestamp: "2026-11-23 01:12:12.618153"}, d.Stock)
	require.Equal(t, uint64(94479492705808), d.Buffers[0].Addr)
	require.Equal(t, uint64(139802107451344), d.Buffers[1].Addr)
}
