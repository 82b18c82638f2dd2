package mem_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
	"mooncake_te/gocore/store/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keys(t testing.TB, cluster string) store.Keys {
	k, err := store.NewKeys(cluster)
	require.NoError(t, err)
	return k
}

// suite is a case on a server of one's own.
func suite(server *mem.Server, advance func(time.Duration)) conformance.Case {
	return conformance.Case{
		Open: func(t testing.TB, cluster string) store.Store { return server.Open(keys(t, cluster)) },
		Linked: func(t testing.TB, cluster string) (store.Store, conformance.Link) {
			s := server.Open(keys(t, cluster))
			return s, s.Link()
		},
		TTL:     time.Second,
		Advance: advance,
		Server: conformance.Server{
			Restart: func(testing.TB) { server.Kill(); server.Start() },
			Wipe:    func(testing.TB) { server.Wipe() },
			Save: func(testing.TB) func(testing.TB) {
				restore := server.Save()
				return func(testing.TB) { restore() }
			},
			Compact: func(testing.TB) { server.Compact() },
			PutStock: func(t testing.TB, cluster, key string, value []byte) {
				server.PutStock(keys(t, cluster), key, value)
			},
		},
	}
}

func TestConformanceManualClock(t *testing.T) {
	t.Parallel()
	server := mem.NewServer(mem.Options{Name: "suite", Manual: true, Progress: 20 * time.Millisecond})
	conformance.Run(t, suite(server, server.Advance))
}

func TestConformanceRealClock(t *testing.T) {
	t.Parallel()
	conformance.Run(t, suite(mem.NewServer(mem.Options{Name: "suite", Progress: 20 * time.Millisecond}), nil))
}
