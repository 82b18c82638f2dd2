package httpstore_test

import (
	"testing"

	"mooncake_te/gocore/metaserver"
	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/conformance"
)

// BenchmarkStore has our server in this process.
func BenchmarkStore(b *testing.B) {
	server := start(b, metaserver.Options{})
	conformance.Costs(b, func(t testing.TB, cluster string) store.Store { return open(t, server.URL(), cluster) })
}
