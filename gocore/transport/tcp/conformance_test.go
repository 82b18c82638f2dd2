package tcp

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
		p := &pair{target: target, self: types.NewInstanceID()}
		var err error
		p.server, err = Listen(Config{Memory: target, Admission: target, MaxEntries: 1 << 17})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.server.Close)
		return p.dial(t, sink, func(c *DialerConfig) { c.MaxEntries = 1 << 17 }), p.self
	})
}
