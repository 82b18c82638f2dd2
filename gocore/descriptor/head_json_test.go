package descriptor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func sampleHead() *Head {
	h := sample().Head
	h.Label, h.Buffers, h.Digest = "decoder \"0\"", 2, strings.Repeat("5e", 32)
	h.Epoch = 1<<63 + 1 // beyond what a float64 keeps
	h.Devices = []Device{{Name: "mlx5_0", LID: 3, GID: "fe80:0000:0000:0000:0000:0000:0000:0001"}, {Name: "mlx5_1"}}
	return &h
}

// The bytes are part of the protocol (docs/protocol.md): other versions of this library read them.
func TestHeadGolden(t *testing.T) {
	for name, h := range map[string]*Head{
		"full":    sampleHead(),
		"minimal": {Name: "a", Instance: types.InstanceID{15: 1}, Version: 1},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, h.Validate())
			want, err := os.ReadFile(filepath.Join("testdata", "head", name+".json"))
			require.NoError(t, err)
			require.Equal(t, string(want), string(EncodeHead(h))+"\n")
			back, err := DecodeHead(want)
			require.NoError(t, err)
			require.Equal(t, h, back)
		})
	}
}

// What a version from the future adds is skipped; what it declares unreadable for us is refused.
func TestHeadGrows(t *testing.T) {
	next := replaced(t, `"format":1`, `"format":2,"rails":[{"n":[1,{}]}],"x":null`)
	h, err := DecodeHead(next)
	require.NoError(t, err)
	require.Equal(t, sampleHead(), h)

	_, err = DecodeHead(replaced(t, `"format":1,"format_min":1`, `"format":3,"format_min":2`))
	require.Equal(t, errcode.VersionSkew, errcode.Of(err))
	require.ErrorContains(t, err, "format 3 for readers of 2 or later, this library reads 1 to 1")
	_, err = DecodeHead(replaced(t, `"format":1,`, ""))
	require.Equal(t, errcode.VersionSkew, errcode.Of(err))
}

func TestHeadRefusals(t *testing.T) {
	instance := sample().Instance.String()
	for name, c := range map[string]struct{ from, to, says string }{
		"no name":             {`"name":"decode-0"`, `"name":""`, "/name"},
		"name is a number":    {`"name":"decode-0"`, `"name":7`, `field "/name"`},
		"name twice":          {`"name":`, `"name":"x","name":`, `field "/name"`},
		"unknown twice":       {`"name":`, `"x":1,"x":2,"name":`, `field "/x"`},
		"unknown twice below": {`"name":`, `"x":{"y":1,"y":2},"name":`, `field "/x/y"`},
		"name not UTF-8":      {`"decode-0"`, "\"decode\xff\"", `field "/name"`},
		"unknown not UTF-8":   {`"name":`, "\"x\":\"\xff\",\"name\":", `field "/x"`},
		"unknown deep":        {`"name":`, `"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `,"name":`, "deeper"},
		"name with control":   {`"decode-0"`, `"a\nb"`, "segment name"},
		"half a surrogate":    {`"decode-0"`, `"\ud800"`, `field "/name"`},
		"no instance":         {instance, "", "/instance_id"},
		"zero instance":       {instance, strings.Repeat("0", 32), "/instance_id"},
		"upper instance":      {instance, strings.ToUpper("0a") + instance[2:], "/instance_id"},
		"epoch is a number":   {`"9223372036854775809"`, `9223372036854775809`, `field "/owner_epoch"`},
		"epoch negative":      {`"9223372036854775809"`, `"-1"`, `field "/owner_epoch"`},
		"epoch too large":     {`"9223372036854775809"`, `"18446744073709551616"`, `field "/owner_epoch"`},
		"epoch padded":        {`"9223372036854775809"`, `"007"`, `field "/owner_epoch"`},
		"epoch empty":         {`"9223372036854775809"`, `""`, `field "/owner_epoch"`},
		"version zero":        {`"metadata_version":42`, `"metadata_version":0`, "metadata version 0"},
		"version missing":     {`"metadata_version":42,`, ``, "metadata version 0"},
		"version negative":    {`"metadata_version":42`, `"metadata_version":-42`, `field "/metadata_version"`},
		"version fraction":    {`"metadata_version":42`, `"metadata_version":4.2`, `field "/metadata_version"`},
		"version whole float": {`"metadata_version":42`, `"metadata_version":42.0`, `field "/metadata_version"`},
		"version exponent":    {`"metadata_version":42`, `"metadata_version":4e2`, `field "/metadata_version"`},
		"version string":      {`"metadata_version":42`, `"metadata_version":"42x"`, `field "/metadata_version"`},
		"version huge":        {`"metadata_version":42`, `"metadata_version":9006099743113216`, "metadata version 9006099743113216"},
		"version beyond":      {`"metadata_version":42`, `"metadata_version":99999999999999999999`, `field "/metadata_version"`},
		"store ID":            {strings.Repeat("0a", 16), strings.Repeat("0A", 16), "store ID"},
		"address":             {"127.0.0.1:7000", "127.0.0.1", "host:port"},
		"address quote":       {"127.0.0.1:7000", `127\".0.0.1:7000`, "host:port"},
		"address type":        {`"127.0.0.1:7000"`, `{}`, `field "/addresses/0"`},
		"addresses type":      {`"addresses":[`, `"addresses":1,"x":[`, `field "/addresses"`},
		"device lid":          {`"lid":3`, `"lid":65536`, `field "/devices/0/lid"`},
		"device name":         {`"mlx5_1"`, `""`, "element 1"},
		"device gid":          {`"fe80:`, `"fe80 `, "gid"},
		"devices type":        {`"devices":[`, `"devices":{},"x":[`, `field "/devices"`},
		"many devices":        {`"devices":[`, `"devices":[` + strings.Repeat(`{"name":"a"},`, MaxDevices), "more than 64"},
		"many buffers":        {`"buffer_count":2`, `"buffer_count":4194305`, "buffer_count"},
		"digest":              {`"digest":"5e`, `"digest":"5E`, "digest"},
		"trailing":            {`"5e5e"}`, `"5e5e"}{}`, "after top-level value"},
		"comma":               {`"5e5e"}`, `"5e5e",}`, "byte"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := replaced(t, c.from, c.to)
			h, err := DecodeHead(bad)
			require.Nil(t, h)
			require.Equal(t, errcode.MetadataInvalid, errcode.Of(err), "%v", err)
			require.ErrorContains(t, err, c.says)
		})
	}
	for _, bad := range []string{"", "null", "[]", "7", `"x"`, "{", "\xef\xbb\xbf{}", "{}"} {
		_, err := DecodeHead([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}

// replaced returns the sample's document with something else in one place.
func replaced(t *testing.T, from, to string) []byte {
	t.Helper()
	h := sampleHead()
	if strings.HasPrefix(from, `"5e5e"}`) {
		from, to = strings.Repeat("5e", 2)+`"}`, strings.Repeat("5e", 2)+to[5:]
	}
	doc := string(EncodeHead(h))
	require.Contains(t, doc, from)
	return []byte(strings.Replace(doc, from, to, 1))
}

func TestHeadSize(t *testing.T) {
	h := sampleHead()
	h.Name, h.Label = strings.Repeat("\\", MaxNameLen), strings.Repeat("\"", MaxLabelLen)
	h.Addresses = slices.Repeat([]string{strings.Repeat("h", MaxAddressLen-6) + ":65535"}, MaxAddresses)
	h.Data = h.Addresses
	h.Devices = slices.Repeat([]Device{{Name: strings.Repeat("d", MaxDeviceLen), LID: 65535, GID: strings.Repeat("f", MaxGIDLen)}}, MaxDevices)
	h.Epoch, h.Version, h.Buffers = 1<<64-1, MaxVersion-1, MaxBuffers
	require.NoError(t, h.Validate())
	largest := EncodeHead(h)
	require.LessOrEqual(t, len(largest), MaxHeadBytes, "every valid head fits")
	back, err := DecodeHead(largest)
	require.NoError(t, err)
	require.Equal(t, h, back)

	_, err = DecodeHead(append(largest, slices.Repeat([]byte(" "), MaxHeadBytes-len(largest)+1)...))
	require.ErrorContains(t, err, "65537 bytes, at most 65536")
}

func TestHeadRoundTrip(t *testing.T) {
	text := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return r >= ' ' && r != 0x7f }), 0, 20, 64)
	address := rapid.SampledFrom([]string{"127.0.0.1:1", "[::1]:65535", "node-a.example:7001"})
	hex32 := rapid.StringMatching("[0-9a-f]{32}")
	device := rapid.Custom(func(t *rapid.T) Device {
		return Device{rapid.StringMatching("[a-z][a-z0-9_]{0,9}").Draw(t, "name"), rapid.Uint16().Draw(t, "lid"), rapid.StringMatching("[0-9a-f:]{0,39}").Draw(t, "gid")}
	})
	rapid.Check(t, func(t *rapid.T) {
		h := &Head{
			Name: "n" + text.Draw(t, "name"), Label: text.Draw(t, "label"), Instance: types.InstanceID{rapid.ByteRange(1, 255).Draw(t, "instance")},
			Epoch: rapid.Uint64().Draw(t, "epoch"), StoreID: hex32.Draw(t, "store"), Version: types.Version(rapid.Uint64Range(1, uint64(MaxVersion-1)).Draw(t, "version")),
			Addresses: some(rapid.SliceOfN(address, 0, 3).Draw(t, "addresses")), Data: some(rapid.SliceOfN(address, 0, 3).Draw(t, "data")),
			Buffers: rapid.Uint64Range(0, MaxBuffers).Draw(t, "buffers"), Digest: rapid.SampledFrom([]string{"", strings.Repeat("ab", 32)}).Draw(t, "digest"),
		}
		if d := rapid.SliceOfN(device, 0, 3).Draw(t, "devices"); len(d) > 0 {
			h.Devices = d
		}
		b := EncodeHead(h)
		back, err := DecodeHead(b)
		require.NoError(t, err)
		require.Equal(t, h, back)
		require.Equal(t, b, EncodeHead(back), "canonical")
	})
}

func TestDeepSeesThroughStrings(t *testing.T) {
	for doc, want := range map[string]bool{
		`{"a":"` + strings.Repeat("[", 100) + `"}`:  false,
		`{"a\"` + strings.Repeat("[", 100) + `":1}`: false,
		`{"a\\":` + strings.Repeat("[", 31):         false,
		`{"a\\":` + strings.Repeat("[", 32):         true,
		strings.Repeat(`{"a":`, 32) + "1":           false,
		strings.Repeat(`{"a":`, 33) + "1":           true,
		"[" + strings.Repeat("[],", 100) + "[]]":    false,
	} {
		require.Equal(t, want, deep([]byte(doc)), "%.60s", doc)
	}
}

func FuzzDecodeHead(f *testing.F) {
	f.Add(EncodeHead(sampleHead()))
	f.Add([]byte(`{"format":1,"format_min":1,"name":"a","instance_id":"00000000000000000000000000000001","metadata_version":1}`))
	f.Add([]byte(`{"devices":[{"name":"a","lid":1,"gid":""},{}],"x":{"x":[[[1e9]]]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHead(b)
		if err != nil {
			require.Contains(t, []errcode.Code{errcode.MetadataInvalid, errcode.VersionSkew}, errcode.Of(err))
			require.LessOrEqual(t, len(err.Error()), 2000)
			return
		}
		require.NoError(t, h.Validate())
		again, err := DecodeHead(EncodeHead(h))
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}
