package descriptor

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// published is a descriptor with all that stock readers want.
func published(protocol string) *Descriptor {
	d := sample()
	for i := range d.Buffers {
		d.Buffers[i].Addr = 0x7f0000000000 + uint64(i)<<20
	}
	if protocol == "rdma" {
		d.Devices = []Device{{Name: "mlx5_0", GID: "fe80:0000:0000:0000:0000:0000:0000:0001"}, {Name: "mlx5_1", LID: 7, GID: "fe80:0000:0000:0000:0000:0000:0000:0002"}}
		d.Buffers[0].Keys, d.Buffers[1].Keys = []uint32{1, 1<<32 - 1}, []uint32{0, 3}
	}
	return d
}

func stockOptions(protocol string) StockOptions {
	return StockOptions{
		Protocol: protocol, TCPHost: "192.0.2.1", TCPPort: 15001, RPC: StockRPC{"192.0.2.1", 15002},
		Now: time.Date(2026, 8, 22, 10, 15, 30, 1000, time.UTC),
	}
}

// The bytes are what other versions of this library, and stock readers, find in a store.
func TestStockGolden(t *testing.T) {
	for _, protocol := range []string{"tcp", "rdma"} {
		t.Run(protocol, func(t *testing.T) {
			d := published(protocol)
			kvs, err := EncodeStock(d, stockOptions(protocol))
			require.NoError(t, err)
			require.Len(t, kvs, 2)
			require.Equal(t, "ram/decode-0", kvs[0].Key)
			want, err := os.ReadFile(filepath.Join("testdata", "ours", protocol+".json"))
			require.NoError(t, err)
			require.Equal(t, string(want), string(kvs[0].Value)+"\n")
			require.Equal(t, StockKV{"rpc_meta/decode-0", []byte(`{"ip_or_host_name":"192.0.2.1","rpc_port":15002}`)}, kvs[1])
			rpc, err := DecodeStockRPC(kvs[1].Value)
			require.NoError(t, err)
			require.Equal(t, StockRPC{"192.0.2.1", 15002}, rpc)

			back, legacy, err := DecodeStock("mooncake/c/ram/decode-0", want)
			require.NoError(t, err)
			require.False(t, legacy)
			require.Equal(t, []string{protocol}, back.Stock.Protocols)
			require.Equal(t, "2026-08-22 10:15:30.000001", back.Stock.Timestamp)
			require.Equal(t, uint16(15001), back.Stock.TCPPort)
			back.Stock = nil
			require.Equal(t, d, back)
			require.Equal(t, d.Digest(), back.Digest())
		})
	}
}

func TestStockNeverHasLocalKeys(t *testing.T) {
	kvs, err := EncodeStock(published("rdma"), stockOptions(""))
	require.NoError(t, err)
	require.Contains(t, string(kvs[0].Value), `"rkey":[1,4294967295],"lkey":[0,0]`, "as many as remote keys, or stock readers refuse it")
	require.Contains(t, string(kvs[0].Value), `"priority_matrix":{"*":[["mlx5_0","mlx5_1"],[]]}`)
}

func TestStockPriorityMatrix(t *testing.T) {
	doc, err := os.ReadFile("testdata/stock/rdma.json")
	require.NoError(t, err)
	d, _, err := DecodeStock("", doc)
	require.NoError(t, err)
	require.Equal(t, map[string][][]string{
		"cpu:0": {{"mlx5_0"}, {"mlx5_1"}}, "cpu:1": {{"mlx5_1"}, {"mlx5_0"}}, "cuda:0": {{"mlx5_0"}, {"mlx5_1"}},
	}, d.Stock.PriorityMatrix)
	require.Equal(t, "node-a-rdma", d.Stock.RDMAServerName)
}

func TestStockLegacyRules(t *testing.T) {
	read := func(from, to string) (*Descriptor, bool, error) { return DecodeStock("", ourStock(t, "tcp", from, to)) }

	d, legacy, err := read(`"metadata_version":42,`, "")
	require.NoError(t, err)
	require.True(t, legacy, "a version is missing: no order to rely on")
	require.Equal(t, types.Version(1), d.Version)
	require.Equal(t, sample().Instance, d.Instance, "who it is was said")

	d, legacy, err = read(`"metadata_version":42`, `"metadata_version":0`)
	require.NoError(t, err)
	require.True(t, legacy)
	require.Equal(t, types.Version(1), d.Version)

	d, legacy, err = read(`"instance_id":"`+sample().Instance.String()+`",`, "")
	require.NoError(t, err)
	require.True(t, legacy)
	require.True(t, d.Instance.IsZero())
	require.Equal(t, types.Version(42), d.Version)

	d, legacy, err = read(`"state":"READY",`, "")
	require.NoError(t, err)
	require.False(t, legacy)
	require.Equal(t, types.Ready, d.Buffers[0].State)

	d, _, err = read(`"state":"READY"`, `"state":"REMOVED"`)
	require.NoError(t, err)
	require.NotEqual(t, types.Ready, d.Buffers[0].State)
	require.Equal(t, "UNKNOWN", d.Buffers[0].State.String())
	again, err := EncodeStock(d, stockOptions("tcp"))
	require.NoError(t, err)
	back, _, err := DecodeStock("", again[0].Value)
	require.NoError(t, err)
	require.Equal(t, d.Buffers, back.Buffers, "not even publishing it again makes it READY")
}

func TestStockRefusals(t *testing.T) {
	for name, c := range map[string]struct{ from, to, says string }{
		"name missing":        {`"name":"decode-0",`, "", "/name"},
		"name of another":     {`"name":"decode-0"`, `"name":"decode-1"`, "/name"},
		"name twice":          {`"name":"decode-0"`, `"name":"decode-0","name":"decode-0"`, `field "/name"`},
		"protocol missing":    {`"protocol":"rdma",`, "", "/protocol"},
		"protocol empty":      {`"protocol":"rdma"`, `"protocol":[""]`, "/protocol"},
		"protocol type":       {`"protocol":"rdma"`, `"protocol":[7]`, "/protocol"},
		"protocols":           {`"protocol":"rdma"`, `"protocol":["x"` + strings.Repeat(`,"x"`, 32) + `]`, "/protocol"},
		"tcp port":            {`"protocol":"rdma","tcp_data_host":"192.0.2.1","tcp_data_port":15001`, `"protocol":"tcp","tcp_data_port":65536`, "/tcp_data_port"},
		"tcp proto":           {`"tcp_proto_version":2`, `"tcp_proto_version":-1`, "/tcp_proto_version"},
		"tcp host":            {`"192.0.2.1"`, `"a\nb"`, "/tcp_data_host"},
		"timestamp":           {`"timestamp":"2026`, `"timestamp":"` + strings.Repeat("x", 600), "/timestamp"},
		"instance":            {sample().Instance.String(), "0a", "/instance_id"},
		"version huge":        {`"metadata_version":42`, `"metadata_version":1782400000000000000`, "metadata version"},
		"version negative":    {`"metadata_version":42`, `"metadata_version":-1`, "/metadata_version"},
		"version fraction":    {`"metadata_version":42`, `"metadata_version":1.5`, "/metadata_version"},
		"version text":        {`"metadata_version":42`, `"metadata_version":"42"`, "/metadata_version"},
		"epoch":               {`"owner_epoch":"7"`, `"owner_epoch":7`, "/owner_epoch"},
		"count":               {`"buffer_count":2`, `"buffer_count":3`, "/buffer_count"},
		"one ID twice":        {`"id":"9"`, `"id":"1"`, "unique"},
		"ID missing":          {`"id":"1",`, ``, "buffer 0"},
		"ID negative":         {`"id":"1"`, `"id":"-1"`, "/buffers/0/id"},
		"length missing":      {`"length":4096,`, ``, "without length"},
		"length negative":     {`"length":4096`, `"length":-4096`, "/buffers/0/length"},
		"address negative":    {`"addr":139637976727552`, `"addr":-1`, "/buffers/0/addr"},
		"address wraps":       {`"addr":139637976727552`, `"addr":18446744073709551615`, "beyond the last address"},
		"perm":                {`"perm":"r"`, `"perm":"rwx"`, "/buffers/0/perm"},
		"keys missing":        {`"rkey":[1,4294967295],`, ``, "/buffers/0/rkey"},
		"key too few":         {`"rkey":[1,4294967295]`, `"rkey":[1]`, "/buffers/0/rkey"},
		"key too many":        {`"rkey":[1,4294967295]`, `"rkey":[1,2,3]`, "/buffers/0/rkey"},
		"key too large":       {`"rkey":[1,4294967295]`, `"rkey":[1,4294967296]`, "/buffers/0/rkey"},
		"key negative":        {`"rkey":[1,`, `"rkey":[-1,`, "/buffers/0/rkey"},
		"keys without end":    {`"rkey":[1,`, `"rkey":[1,` + strings.Repeat("0,", 100), "more than 64"},
		"device unnamed":      {`"name":"mlx5_1"`, `"name":""`, "/devices"},
		"devices without":     {`{"name":"mlx5_0","lid":0,"gid":"fe80:0000:0000:0000:0000:0000:0000:0001"},`, ``, "/buffers/0/rkey"},
		"devices twice":       {`"devices":[`, `"devices":[` + strings.Repeat(`{"name":"x"},`, 64), "more than 64"},
		"matrix type":         {`{"*":[["mlx5_0","mlx5_1"],[]]}`, `{"*":["mlx5_0"]}`, "/priority_matrix"},
		"matrix large":        {`{"*":[["mlx5_0","mlx5_1"],[]]}`, `{"*":[` + strings.Repeat("[],", 100_000) + `[]]}`, "/priority_matrix"},
		"location":            {`"name":"cpu:0"`, `"name":"` + strings.Repeat("x", 300) + `"`, "location"},
		"not UTF-8":           {`"label":"kv"`, "\"label\":\"k\xff\"", "/buffers/0/label"},
		"deep":                {`"label":"kv"`, `"x":` + strings.Repeat(`{"x":`, 40) + "1" + strings.Repeat("}", 40), "deeper"},
		"buffers are no list": {`"buffers":[`, `"buffers":0,"x":[`, "/buffers"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _, err := DecodeStock("ram/decode-0", ourStock(t, "rdma", c.from, c.to))
			require.Nil(t, d)
			require.Equal(t, errcode.MetadataInvalid, errcode.Of(err), "%v", err)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, _, err := DecodeStock("", ourStock(t, "tcp", `"buffers":[`, `"buffers":[`+strings.Repeat(`{"length":1},`, 1<<18)))
	require.ErrorContains(t, err, "more than 262144")
	_, _, err = DecodeStock("", slices.Repeat([]byte(" "), MaxStockBytes+1))
	require.ErrorContains(t, err, "16777217 bytes, at most 16777216")
	for _, bad := range []string{`{}`, `{"ip_or_host_name":"h"}`, `{"ip_or_host_name":"h","rpc_port":70000}`, `{"ip_or_host_name":"","rpc_port":7}`, `{"ip_or_host_name":"h","rpc_port":"7"}`} {
		_, err := DecodeStockRPC([]byte(bad))
		require.Equal(t, errcode.MetadataInvalid, errcode.Of(err), bad)
	}
}

// ourStock is what we publish, with something else in one place.
func ourStock(t *testing.T, protocol, from, to string) []byte {
	t.Helper()
	kvs, err := EncodeStock(published(protocol), stockOptions(protocol))
	require.NoError(t, err)
	require.Contains(t, string(kvs[0].Value), from)
	return []byte(strings.Replace(string(kvs[0].Value), from, to, 1))
}

func FuzzDecodeStock(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.json")
	require.NoError(f, err)
	for _, file := range files {
		doc, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, legacy, err := DecodeStock("", b)
		if err != nil {
			require.Equal(t, errcode.MetadataInvalid, errcode.Of(err))
			require.LessOrEqual(t, len(err.Error()), 2000)
			return
		}
		require.NotZero(t, d.Version)
		require.NotNil(t, d.Stock)
		if !legacy {
			require.NoError(t, d.Validate())
		}
		if d.Instance.IsZero() {
			require.True(t, legacy)
			return
		}
		protocol := "tcp"
		if slices.Equal(d.Stock.Protocols, []string{"rdma"}) {
			protocol = "rdma"
		}
		if protocol == "tcp" { // what is written over TCP has no rails
			d.Devices = nil
			for i := range d.Buffers {
				d.Buffers[i].Keys = nil
			}
		}
		kvs, err := EncodeStock(d, StockOptions{Protocol: protocol, PriorityMatrix: d.Stock.PriorityMatrix})
		if err != nil {
			return // what a stock reader needs and we do not is missing
		}
		back, _, err := DecodeStock("", kvs[0].Value)
		require.NoError(t, err)
		d, back.Stock = d.Normalized(), d.Stock
		require.Equal(t, d.Head, back.Head)
		require.Equal(t, len(d.Buffers), len(back.Buffers))
		for i := range d.Buffers {
			require.True(t, d.Buffers[i].Equal(back.Buffers[i]))
		}
	})
}

// What somebody puts into a store must not be what takes a reader's memory.
func TestStockAllocatesInProportion(t *testing.T) {
	fill := func(pre, unit, post string) []byte {
		return []byte(pre + strings.Repeat(unit, (MaxStockBytes-len(pre)-len(post))/len(unit)) + post)
	}
	for name, doc := range map[string][]byte{
		"buffers":  fill(`{"name":"n","protocol":"tcp","buffers":[`, `{"length":1},`, `{"length":1}]}`),
		"names":    fill(`{"name":"n","protocol":"tcp","x":[`, `"",`, `""]}`),
		"lists":    fill(`{"name":"n","protocol":"tcp","x":[`, `[],`, `[]]}`),
		"matrix":   fill(`{"name":"n","protocol":"tcp","priority_matrix":{"a":[`, `[],`, `[]]}}`),
		"keys":     fill(`{"name":"n","protocol":"rdma","buffers":[{"length":1,"rkey":[`, `0,`, `0]}]}`),
		"a string": fill(`{"name":"`, `x`, `"}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _ = DecodeStock("", doc)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(320<<20), "%s: twenty times the document", name)

	}
}
