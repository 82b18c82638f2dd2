package etcd_test

import (
	"testing"

	"mooncake_te/gocore/internal/etcdtest"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
)

// BenchmarkStore has one member on this machine, without fsync: what is measured is the way there and back, and the
// server's work.
func BenchmarkStore(b *testing.B) {
	c := etcdtest.Start(b, etcdtest.Options{})
	conformance.Costs(b, func(t testing.TB, cluster string) store.Store { return open(t, cluster, nil, c.Endpoints()...) })
}
