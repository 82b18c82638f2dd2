package engine

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// an owner that names a token twice (or more tokens than were asked for).
func TestTokensNamedTwice(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	_, p, err := a.segment("test", seg)
	require.NoError(t, err)
	// The owner mints a token as it does for any ATTACH, and answers with it twice.
	b.memory.mu.Lock()
	acts := b.memory.owner.Attach(b.now(), a.instance, 1, 1)
	b.memory.mu.Unlock()
	att := acts[0].(coherence.SendAttached)
	p.mu.Lock()
	p.attaching, p.wanted = 77, 2
	p.view.Attaching(1)
	tok := uint64(att.Tokens[0])
	p.attached(&controlpb.Attached{Request: 77, Tokens: []uint64{tok, tok}, Floor: uint64(att.Floor), DataAddresses: b.Info().DataAddresses})
	p.mu.Unlock()
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.dialing == 0 }, patience, time.Millisecond)
	for range 8 {
		batch := a.submit(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
		if !batch.Wait(patience) {
			x, _ := batch.ExplainJSON()
			batch.Cancel()
			t.Fatalf("batch does not end (after Cancel: %v): %s", batch.Wait(patience), x)
		}
	}
}

// ATTACHED with 4,096 tokens makes us open 4,096 connections to addresses that the peer chose.
func TestMoreTokensThanAsked(t *testing.T) {
	a, b := newRig(t), newRig(t)
	seg := a.open(b.address())
	_, p, err := a.segment("test", seg)
	require.NoError(t, err)
	cut := newCutter(t) // somebody else's port
	var tokens []uint64
	for range 1000 {
		tokens = append(tokens, randomWord())
	}
	p.mu.Lock()
	p.attaching, p.wanted = 77, 2
	p.view.Attaching(1)
	p.attached(&controlpb.Attached{Request: 77, Tokens: tokens, DataAddresses: []string{cut.addr()}})
	dialing := p.dialing
	p.mu.Unlock()
	require.LessOrEqual(t, dialing, 2)
}

// acknowledging IDs that were never asked about costs the owner memory and time under its one lock.
func TestHostileDrainAck(t *testing.T) {
	o := coherence.NewOwner(coherence.OwnerConfig{Instance: types.NewInstanceID(), Random: randomWord})
	peer := types.NewInstanceID()
	ids, _ := o.Register(0, coherence.Registration{Length: 64, Remote: types.RemoteAll, Perm: types.PermRead})
	o.SessionUp(0, peer)
	o.Attach(0, peer, 1, 1)
	_, acts, err := o.Drain(0, ids, types.Time(time.Hour))
	require.NoError(t, err)
	var nonce types.Nonce
	for _, a := range acts {
		if d, ok := a.(coherence.SendDrain); ok {
			nonce = d.Nonce
		}
	}
	require.NotZero(t, nonce)
	began := time.Now()
	for range 3 {
		junk := make([]types.BufferID, 65536)
		for i := range junk {
			junk[i] = types.BufferID(randomWord() | 1<<40)
		}
		o.DrainAck(0, peer, nonce, junk)
	}
	require.Less(t, time.Since(began), 10*time.Second, "three messages")
}

// A peer that closed is known to be gone at once.
func TestByeIsHeard(t *testing.T) {
	a, b := newRig(t, func(c *config.Config) { c.HeartbeatMS = 1000 }), newRig(t, func(c *config.Config) { c.HeartbeatMS = 1000 })
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	<-b.Close(time.Second).Done()
	_, p, err := a.segment("test", seg)
	require.NoError(t, err)
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.session == nil }, patience, time.Millisecond)
	began := time.Now()
	task, err := a.Notify(seg, []byte("x"), "", Batch{}, 10*time.Second)
	require.NoError(t, err)
	require.True(t, task.Wait(patience))
	t.Logf("ended after %v: %v", time.Since(began), task.Err())
	p.mu.Lock()
	defer p.mu.Unlock()
	require.True(t, p.ended)
}

// One peer gets a quarter of the inbound connections at most, so that others get some (L8).
func TestOnePeerTakesAllConnections(t *testing.T) {
	owner := newRig(t, func(c *config.Config) { c.MaxInboundConns = 16 })
	greedy := newRig(t, func(c *config.Config) { c.ConnectionsPerPeer = 16 })
	other := newRig(t)
	remote := owner.buffer(4096, types.RemoteAll)
	g, o := greedy.buffer(4096, types.RemoteNone), other.buffer(4096, types.RemoteNone)
	sg, so := greedy.open(owner.address()), other.open(owner.address())
	greedy.must(one(types.Read, sg, g.id, remote.id, 0, 0, 64))
	require.Eventually(t, func() bool { return owner.server.Connections() == 4 }, patience, time.Millisecond)
	require.NoError(t, other.finish(other.submit(one(types.Read, so, o.id, remote.id, 0, 0, 64))))
}

// One peer does not fill the queue of notifications for all.
func TestOnePeerFillsTheNotifications(t *testing.T) {
	owner := newRig(t, func(c *config.Config) { c.MaxNotifications = 16 })
	greedy, other := newRig(t), newRig(t)
	sg, so := greedy.open(owner.address()), other.open(owner.address())
	for range 20 {
		task, err := greedy.Notify(sg, []byte("x"), "", Batch{}, 0)
		require.NoError(t, err)
		require.True(t, task.Wait(patience))
	}
	task, err := other.Notify(so, []byte("x"), "", Batch{}, 0)
	require.NoError(t, err)
	require.True(t, task.Wait(patience))
	require.NoError(t, task.Err())
}

// Register and Drain on an engine that is being closed at the same time: a drain task that never ends.
func TestDrainDuringClose(t *testing.T) {
	for i := range 40 {
		a := newRig(t)
		m := a.alloc(4096)
		var ids []types.BufferID
		for range 3000 {
			ids = append(ids, a.register(m, types.RemoteAll))
		}
		var tasks []*Task
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, id := range ids {
				task, err := a.Drain([]types.BufferID{id}, -1)
				if err != nil {
					if stop.Load() {
						return
					}
					continue
				}
				tasks = append(tasks, task)
			}
		}()
		time.Sleep(time.Duration(i*37%20) * 100 * time.Microsecond)
		c := a.Close(0)
		stop.Store(true)
		require.True(t, c.Wait(patience))
		<-done
		require.NoError(t, c.Err(), "round %d", i)
		for _, task := range tasks {
			require.True(t, task.Wait(patience), "a drain task never ends")
		}
	}
}

var _ = errcode.OK
