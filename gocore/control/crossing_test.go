package control

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/types"
)

// settled reports whether both nodes have nothing but one and the same session.
func settled(a, b *testNode) bool {
	sa, sb := a.Session(b.id), b.Session(a.id)
	if sa == nil || sb == nil || sa.Number() != sb.Number() || sa.Dialled() == sb.Dialled() {
		return false
	}
	for _, n := range []*testNode{a, b} {
		n.mu.Lock()
		quiet := n.streams == 1 && len(n.dials) == 0
		n.mu.Unlock()
		if !quiet {
			return false
		}
	}
	return true
}

func crossing(t *testing.T, rounds int, change func(*Config)) {
	byA := 0
	for i := range rounds {
		a, b := start(t, change), start(t, change)
		var wg sync.WaitGroup
		for _, n := range []struct{ from, to *testNode }{{a, b}, {b, a}} {
			wg.Go(func() {
				expect := n.to.id
				if i%3 == 0 {
					expect = types.InstanceID{}
				}
				_, err := n.from.Dial(t.Context(), n.to.Addresses(), expect)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Eventually(t, func() bool { return settled(a, b) }, patience, time.Millisecond)
		if a.Session(b.id).Dialled() {
			byA++
		}
		tag := fmt.Sprint("round ", i)
		require.NoError(t, a.Session(b.id).Send(notify(tag)))
		require.NoError(t, b.Session(a.id).Send(notify(tag)))
		require.Same(t, a.Session(b.id), a.rec.awaitNotify(t, tag).s)
		require.Same(t, b.Session(a.id), b.rec.awaitNotify(t, tag).s)
		require.NotContains(t, a.rec.kinds("down"), "down", "replaced is not lost")
		require.NotContains(t, b.rec.kinds("down"), "down", "replaced is not lost")
		a.close(t)
		b.close(t)
	}
	require.NotZero(t, byA)
	require.Less(t, byA, rounds)
}

func TestCrossingDials(t *testing.T) { crossing(t, 200, func(*Config) {}) }

func TestCrossingDialsWithKey(t *testing.T) {
	crossing(t, 50, func(c *Config) { c.PSK = bytes.Repeat([]byte("k"), 32) })
}

func TestManyDialsAtOnceShareOneAttempt(t *testing.T) {
	a, b := start(t), start(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := a.Dial(t.Context(), b.Addresses(), b.id)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	require.Equal(t, uint64(1), a.numbers.Load())
}

// relay is a way between two nodes that can be made to swallow everything, so that neither end sees a FIN.
type relay struct {
	net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
	black bool
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{Listener: l}
	r.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			r.wg.Go(func() { r.pump(in, out) })
			r.wg.Go(func() { r.pump(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *relay) pump(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		black := r.black
		r.mu.Unlock()
		switch {
		case black && err == nil:
			continue // swallowed
		case black:
			return // the end is swallowed too
		case err == io.EOF:
			_ = to.Close()
			return
		case err != nil:
			_ = to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}

func (r *relay) swallow() {
	r.mu.Lock()
	r.black = true
	r.mu.Unlock()
}

func (r *relay) addrs() []string { return []string{r.Addr().String()} }

func instance(first byte) func(*Config) {
	return func(c *Config) { c.Instance = types.NewInstanceID(); c.Instance[0] = first }
}

func heartbeat(d time.Duration) func(*Config) { return func(c *Config) { c.Heartbeat = d } }

// The dialler finds its session dead, the other side does not: the new session takes the place of the half-dead one,
// whichever of the two dials, and nobody is called lost at the side that had not noticed.
func TestHalfDeadSessionBlocksNone(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, next byte // instance of who dials the first time, and of the other
		sameDialler bool
	}{
		{"same dialler, preferred", 1, 2, true},
		{"same dialler, not preferred", 2, 1, true},
		{"other dialler, preferred", 2, 1, false},
		{"other dialler, not preferred", 1, 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			never := func(c *Config) { c.missed = 1 << 30 }
			sees := func(*Config) {}
			ofFirst, ofOther := sees, never
			if !c.sameDialler {
				ofFirst, ofOther = never, sees
			}
			beat := heartbeat(200 * time.Millisecond) // a busy machine must not make silence of its own
			first, other := start(t, instance(c.first), beat, ofFirst), start(t, instance(c.next), beat, ofOther)
			way := newRelay(t, other.Addresses()[0])
			old, err := first.Dial(t.Context(), way.addrs(), other.id)
			require.NoError(t, err)
			way.swallow()
			notices, blind := first, other
			if !c.sameDialler {
				notices, blind = other, first
			}
			notices.rec.awaitDown(t)
			require.NotNil(t, blind.Session(notices.id), "the other side has not noticed")
			notices.dial(t, blind)
			require.Eventually(t, func() bool { return settled(first, other) }, patience, time.Millisecond)
			require.Eventually(t, func() bool { return len(blind.rec.kinds("up")) == 2 }, patience, time.Millisecond)
			require.Equal(t, []string{"up", "up"}, blind.rec.kinds("up", "down"))
			require.False(t, old.(*session).alive())
		})
	}
}

func TestHeartbeatsLost(t *testing.T) {
	a, b := start(t, heartbeat(200*time.Millisecond)), start(t, heartbeat(200*time.Millisecond))
	way := newRelay(t, b.Addresses()[0])
	s, err := a.Dial(t.Context(), way.addrs(), b.id)
	require.NoError(t, err)
	b.rec.await(t, "heartbeat", func(x record) bool { return x.ev.GetHeartbeat() != nil })
	way.swallow()
	for _, n := range []*testNode{a, b} {
		down := n.rec.awaitDown(t)
		require.ErrorContains(t, down.err, "PEER_DEAD")
		require.ErrorContains(t, down.err, "3 heartbeats")
	}
	require.Nil(t, a.Session(b.id))
	require.Error(t, s.Send(notify("x")))
}

// Engines with different settings keep each other alive: who looks more often is told more often.
func TestHeartbeatsOfDifferentLengths(t *testing.T) {
	for _, dials := range []bool{true, false} {
		eager, lazy := start(t, heartbeat(200*time.Millisecond)), start(t, heartbeat(time.Hour))
		if dials {
			eager.dial(t, lazy)
		} else {
			lazy.dial(t, eager)
		}
		require.Eventually(t, func() bool { // for longer than a silence may last, or to the end
			return len(eager.rec.kinds("event")) > 6 || len(eager.rec.kinds("down")) > 0
		}, patience, time.Millisecond)
		require.Empty(t, eager.rec.kinds("down"))
	}
}

// A node with a silent peer that dials it all the same: one-sided heartbeats are enough to tell.
func TestSlowHandlerIsNotSilence(t *testing.T) {
	block := make(chan struct{})
	// Only b, whose reader is held up, may come to think of silence.
	a := start(t, heartbeat(100*time.Millisecond), func(c *Config) { c.missed = 1 << 30 })
	b := start(t, heartbeat(100*time.Millisecond))
	b.rec.onEvent = func(_ Session, ev *controlpb.Event) {
		if ev.GetNotify().GetTag() == "block" {
			<-block
		}
	}
	s := a.dial(t, b)
	require.NoError(t, s.Send(notify("block")))
	// More than the mailbox holds, so that b's reader waits too.
	for range 2 * mailboxDepth {
		require.NoError(t, s.Send(notify("fill")))
	}
	peer := b.Session(a.id)
	for last := peer.(*session).heard.Load(); ; {
		beats := a.rec.kinds("event")
		a.rec.await(t, "more heartbeats", func(record) bool { return len(a.rec.log) > len(beats)+10 })
		now := peer.(*session).heard.Load()
		if now == last {
			break // the reader stands still for ten heartbeats
		}
		last = now
	}
	require.NotNil(t, b.Session(a.id))
	close(block)
	require.NoError(t, s.Send(notify("end")))
	b.rec.awaitNotify(t, "end")
}
