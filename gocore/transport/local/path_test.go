package local

import (
	"testing"

	"go.uber.org/goleak"

	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T, target *conformance.Target, sink transport.Sink) (transport.Path, types.InstanceID) {
		p := New(Config{ID: target.Token(target.Instance()), Memory: target, Sink: sink})
		t.Cleanup(func() { p.Close(nil) })
		return p, target.Instance()
	})
}
