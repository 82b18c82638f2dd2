package etcd_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"mooncake_te/gocore/internal/etcdtest"
	"mooncake_te/gocore/internal/netfault"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
	"mooncake_te/gocore/store/etcd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a store at the addresses given.
func open(t testing.TB, cluster string, spoil func(*etcd.Options), addresses ...string) *etcd.Store {
	k, err := store.NewKeys(cluster)
	require.NoError(t, err)
	o := etcd.Options{Endpoints: addresses, Keys: k, Progress: 100 * time.Millisecond}
	if spoil != nil {
		spoil(&o)
	}
	s, err := etcd.Open(o)
	require.NoError(t, err)
	return s
}

// suite is the case of a cluster; options is what its clients need.
func suite(c *etcdtest.Cluster, options func(*etcd.Options), admin func() *clientv3.Client) conformance.Case {
	put := func(t testing.TB, key string, value []byte) {
		client := admin()
		defer func() { _ = client.Close() }()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_, err := client.Put(ctx, key, string(value))
		require.NoError(t, err)
	}
	return conformance.Case{
		Open: func(t testing.TB, cluster string) store.Store { return open(t, cluster, options, c.Endpoints()...) },
		Linked: func(t testing.TB, cluster string) (store.Store, conformance.Link) {
			proxy := netfault.NewProxy(t, c.Members[0].Address())
			return open(t, cluster, options, proxy.Address()), proxy
		},
		TTL: time.Second,
		Server: conformance.Server{
			Restart: func(testing.TB) { c.Restart() },
			Wipe:    func(testing.TB) { c.Wipe() },
			Save: func(testing.TB) func(testing.TB) {
				restore := c.Save()
				return func(testing.TB) { restore() }
			},
			Compact: func(testing.TB) { c.Compact() },
			PutStock: func(t testing.TB, cluster, key string, value []byte) {
				k, err := store.NewKeys(cluster)
				require.NoError(t, err)
				put(t, k.Stock()+key, value)
			},
			PutOurs: put,
		},
	}
}

// versions are those to test; with -short the current one has to do.
func versions() []string {
	if testing.Short() {
		return []string{etcdtest.Current}
	}
	return []string{etcdtest.Debian, etcdtest.Current}
}

func TestConformance(t *testing.T) {
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := etcdtest.Start(t, etcdtest.Options{Version: version})
			conformance.Run(t, suite(c, nil, c.Client))
		})
	}
}
