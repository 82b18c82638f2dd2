package open_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/open"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStoreOfEachKind: nothing listens there, and opening does not mind.
func TestStoreOfEachKind(t *testing.T) {
	for url, want := range map[string]store.Info{
		"etcd://u:s3cret@127.0.0.1:9,h2?tls=1": {Kind: "etcd", URL: "etcd://127.0.0.1:9,h2:2379"},
		"http://:s3cret@127.0.0.1:9/metadata":  {Kind: "http", URL: "http://127.0.0.1:9/metadata"},
		"https://127.0.0.1:9/metadata":         {Kind: "http", URL: "https://127.0.0.1:9/metadata"},
		"mem://TestStoreOfEachKind":            {Kind: "mem", URL: "mem://TestStoreOfEachKind"},
	} {
		s, err := open.Store(url, open.Options{ClusterID: "c"})
		require.NoError(t, err, "%s", url)
		info := s.Info()
		require.Equal(t, want, store.Info{Kind: info.Kind, URL: info.URL})
		if info.Kind != "mem" {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_, err = s.Get(ctx, "x")
			cancel()
			require.Equal(t, errcode.MetadataUnavailable, errcode.Of(err), "%v", err)
			require.NotContains(t, err.Error(), "s3cret")
		}
		require.NoError(t, s.Close())
	}
}

func TestMemIsSharedByNameAndSplitByCluster(t *testing.T) {
	get := func(cluster string) store.Store {
		s, err := open.Store("mem://shared", open.Options{ClusterID: cluster})
		require.NoError(t, err)
		return s
	}
	a, b, other := get("one"), get("one"), get("two")
	ctx := context.Background()
	o, err := a.Acquire(ctx, store.AcquireRequest{Name: "x", Instance: types.NewInstanceID(), TTL: time.Minute})
	require.NoError(t, err)
	r, err := b.Get(ctx, "x")
	require.NoError(t, err)
	require.True(t, o.Holds(&r))
	r, err = other.Get(ctx, "x")
	require.NoError(t, err)
	require.True(t, r.Empty())
	for _, s := range []store.Store{a, b, other} {
		require.NoError(t, s.Close())
	}
	// The last one took it along.
	again := get("one")
	defer func() { require.NoError(t, again.Close()) }()
	r, err = again.Get(ctx, "x")
	require.NoError(t, err)
	require.True(t, r.Empty())
}

func TestStoreRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for _, c := range []struct {
		url     string
		options open.Options
		says    string
	}{
		{"etcd://h:1", open.Options{ClusterID: "a/b"}, "metadata_cluster_id"},
		{"etcd://h:1", open.Options{Token: "s3cret"}, "names no user"},
		{"etcd://u@h:1", open.Options{}, "no password"},
		{"etcd://u:other@h:1", open.Options{Token: "s3cret"}, "another one, in metadata_token"},
		{"etcd://h:1", open.Options{TLSCA: missing}, missing},
		{"etcd://h:1", open.Options{TLSCert: missing, TLSKey: missing}, missing},
		{"etcd://h:1", open.Options{TLSCert: missing}, "belong together"},
		{"etcd://h:1?tls=0", open.Options{TLSCA: missing}, "tls=0"},
		{"mem://x", open.Options{Token: "s3cret"}, "mem://"},
		{"http://h:1/m", open.Options{TLSCA: missing}, "not https"},
		{"https://h:1/m", open.Options{TLSCA: missing}, missing},
		{"redis://h:1", open.Options{}, "Redis"},
	} {
		s, err := open.Store(c.url, c.options)
		require.Equal(t, errcode.InvalidArgument, errcode.Of(err), "%s: %v", c.url, err)
		require.ErrorContains(t, err, c.says)
		require.NotContains(t, err.Error(), "s3cret")
		require.Nil(t, s)
	}
	s, err := open.Store("etcd://u:same@h:1", open.Options{Token: "same"})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
