package descriptor

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestShow(t *testing.T) {
	d := sample()
	d.Epoch = 1<<63 + 1
	d.Buffers[0].Addr = 4096
	d.Buffers[1].State = unheardState
	b, err := json.Marshal(Show(d, false))
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"decode-0","label":"","instance_id":"01020300000000000000000000000000",
		"owner_epoch":"9223372036854775809","store_id":"`+d32+`","metadata_version":42,"legacy":false,
		"addresses":["127.0.0.1:7000","[::1]:7000"],"data_addresses":["node-a.example:7001"],"devices":[],"buffer_count":2,
		"digest":"`+d.DigestText()+`","buffers":[
		{"id":"1","length":4096,"state":"READY","perm":"r","label":"kv","location":"cpu:0","addr":4096},
		{"id":"9","length":1,"state":"UNKNOWN","perm":"rw","label":"","location":"*"}]}`, string(b))
}

func TestShowHeadHasNoBuffers(t *testing.T) {
	b, err := json.Marshal(ShowHead(sampleHead(), false))
	require.NoError(t, err)
	require.Contains(t, string(b), `"buffer_count":2,"digest":"`+strings.Repeat("5e", 32)+`"}`)
	require.Contains(t, string(b), `"devices":[{"name":"mlx5_0","lid":3,`)
}

func TestShowLegacy(t *testing.T) {
	d, legacy, err := DecodeStock("", ourStock(t, "rdma", `"instance_id":"`+sample().Instance.String()+`",`, ""))
	require.NoError(t, err)
	b, err := json.Marshal(Show(d, legacy))
	require.NoError(t, err)
	require.Contains(t, string(b), `"instance_id":"","owner_epoch":"7",`)
	require.Contains(t, string(b), `"legacy":true`)
	require.Contains(t, string(b), `"rkey":[1,4294967295]`)
	require.Contains(t, string(b), `"stock":{"protocol":["rdma"],"tcp_data_host":"192.0.2.1","tcp_data_port":15001,`)
}

func TestShownComesBack(t *testing.T) {
	for name, d := range map[string]*Descriptor{"whole": published("rdma"), "head": {Head: *sampleHead()}} {
		t.Run(name, func(t *testing.T) {
			shown := Show(d, false)
			if name == "head" {
				shown = ShowHead(&d.Head, false)
			}
			b, err := json.Marshal(shown)
			require.NoError(t, err)
			back, err := DecodeShown(b)
			require.NoError(t, err)
			require.Empty(t, Diff(d, back))
			require.Empty(t, Diff(back, d))
		})
	}
	for bad, says := range map[string]string{
		`{"metadata_version":1,"instance_id":"x"}`:                                       "/instance_id",
		`{"metadata_version":1,"buffers":[{"id":"1","length":1,"perm":"x"}]}`:            "/buffers/0/perm",
		`{"metadata_version":1,"buffers":[{"id":"1","length":1},{"id":"1","length":1}]}`: "unique",
		`{"metadata_version":1,"buffer_count":3,"buffers":[{"id":"1","length":1}]}`:      "buffer_count",
		`{"metadata_version":0}`:                      "version 0",
		`{"metadata_version":1,"metadata_version":1}`: "/metadata_version",
	} {
		_, err := DecodeShown([]byte(bad))
		require.Equal(t, errcode.MetadataInvalid, errcode.Of(err), bad)
		require.ErrorContains(t, err, says)
	}
}
