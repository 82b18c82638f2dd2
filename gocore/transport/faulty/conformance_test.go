package faulty_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/transport/faulty"
	"mooncake_te/gocore/transport/tcp"
	"mooncake_te/gocore/types"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const entries = 1 << 17 // what the suite posts at once

// through dials a fresh server over a proxy with one fault, in what we send or in what we get.
func through(t *testing.T, plan faulty.Plan, target *conformance.Target, sink transport.Sink) conformance.Wire {
	t.Helper()
	server, err := tcp.Listen(tcp.Config{Memory: target, Admission: target, MaxEntries: entries})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	none := func(int) faulty.Plan { return faulty.Plan{} }
	up, back := func(int) faulty.Plan { return plan }, none
	if plan.Seed%2 == 1 {
		up, back = back, up
	}
	proxy, err := faulty.NewProxy(server.Addresses()[0], up, back)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	self := types.NewInstanceID()
	d := tcp.NewDialer(tcp.DialerConfig{Sink: sink, MaxEntries: entries})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if plan.Kind.Silent() {
		// Somebody gives up: here at once, in an engine when its dial timeout has passed.
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-proxy.Fired():
				cancel()
			case <-stop:
			}
		}()
	}
	path, err := d.Dial(ctx, []string{proxy.Addr()}, target.Token(self), target.Instance(), self)
	if err != nil {
		return conformance.Wire{Err: err, Self: self, Fired: proxy.Fired()}
	}
	t.Cleanup(func() { path.Close(nil) })
	return conformance.Wire{Path: path, Self: self, Fired: proxy.Fired()}
}

// What only delays and splits must not be noticed: the whole suite passes.
func TestSuiteOnASlowAndSplitWire(t *testing.T) {
	for _, kind := range []faulty.Kind{faulty.Delay, faulty.Partial} {
		for seed := range uint64(2) { // what we send, what we get
			t.Run(kind.String(), func(t *testing.T) {
				conformance.Run(t, func(t *testing.T, target *conformance.Target, sink transport.Sink) (transport.Path, types.InstanceID) {
					w := through(t, faulty.Plan{Kind: kind, Seed: seed}, target, sink)
					require.NoError(t, w.Err)
					return w.Path, w.Self
				})
			})
		}
	}
}

// Whatever breaks: each post ends once, what is called complete is right, the rest has a typed reason.
func TestMeaningHoldsOnABrokenWire(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 6
	}
	for _, kind := range faulty.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			seen := conformance.RunFaults(t, rounds, kind.Silent(),
				func(t *testing.T, target *conformance.Target, sink transport.Sink, seed uint64) conformance.Wire {
					return through(t, faulty.NewPlan(kind, seed, 64<<10), target, sink)
				},
				func(t *testing.T, target *conformance.Target, sink transport.Sink) (transport.Path, types.InstanceID) {
					w := through(t, faulty.Plan{}, target, sink)
					require.NoError(t, w.Err)
					return w.Path, w.Self
				})
			t.Logf("%v: %+v", kind, seen)
			if kind.Lossless() {
				require.Equal(t, seen.Posts, seen.Completed)
				return
			}
			require.GreaterOrEqual(t, seen.Fired+seen.NotDialled, seen.Rounds/3, "the fault hardly ever happened")
			require.Less(t, seen.Completed, seen.Posts)
			if kind == faulty.Corrupt {
				require.Positive(t, seen.Codes[errcode.Checksum])
			}
		})
	}
}
