package stockhttp_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/internal/netfault"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
)

func TestConformance(t *testing.T) {
	server := start(t)
	conformance.Run(t, conformance.Case{
		Open: func(t testing.TB, cluster string) store.Store { return open(t, server.address(), cluster) },
		Linked: func(t testing.TB, cluster string) (store.Store, conformance.Link) {
			p := netfault.NewProxy(t, server.address())
			return open(t, p.Address(), cluster), p
		},
		TTL: time.Second,
		// aiohttp takes bodies of a mebibyte.
		MaxStock: 1 << 20,
		Server: conformance.Server{
			Restart: server.restart,
			Forgets: true,
			Wipe:    server.restart,
			PutStock: func(t testing.TB, cluster, key string, value []byte) {
				keys, err := store.NewKeys(cluster)
				require.NoError(t, err)
				server.put(t, keys.Stock()+key, value)
			},
			PutOurs: func(t testing.TB, key string, value []byte) { server.put(t, key, value) },
		},
	})
}
