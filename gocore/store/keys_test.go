package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
)

func TestKeysOfClusters(t *testing.T) {
	none, err := NewKeys("")
	require.NoError(t, err)
	require.Equal(t, "mooncake_te/store_id", none.StoreID())
	require.Equal(t, "mooncake_te/owner/a b", none.Owner("a b"))
	require.Equal(t, "mooncake/ram/a b", none.RAM("a b"))

	one, err := NewKeys("one/")
	require.NoError(t, err, "a slash at the end is as MC_METADATA_CLUSTER_ID may have it")
	require.Equal(t, "mooncake_te/one/head/x", one.Head("x"))
	require.Equal(t, "mooncake/one/rpc_meta/x", one.RPC("x"))
}

func TestKeysRefuseClusters(t *testing.T) {
	for _, bad := range []string{"a/b", "a\x00", "a\n", "\xff", strings.Repeat("x", 256), "owner", "head/", "store_id", "ram"} {
		_, err := NewKeys(bad)
		require.ErrorIs(t, err, &errcode.Error{Code: errcode.InvalidArgument}, "%q", bad)
		require.ErrorContains(t, err, "metadata_cluster_id")
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "10.0.0.7:12345", "[::1]:1", "ä ö", "a%2Fb?c=d&e", "..", strings.Repeat("x", 255)} {
		require.NoError(t, CheckName("open", good), "%q", good)
	}
	for _, bad := range []string{"", "a/b", "a\x00b", "\x7f", "\xc3", strings.Repeat("x", 256), strings.Repeat("x", 1024)} {
		err := CheckName("open", bad)
		require.ErrorIs(t, err, &errcode.Error{Code: errcode.InvalidArgument}, "%q", bad)
		require.Less(t, len(err.Error()), 600)
	}
}
