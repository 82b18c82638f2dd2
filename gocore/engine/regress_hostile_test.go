package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/coherence"
	"mooncake_te/gocore/config"
	"mooncake_te/gocore/control"
	"mooncake_te/gocore/control/controlpb"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// a peer that died (or closed) with WRITEs in flight must not be kept, dialled and ticked for ever, with its batches.
func TestDeadPeersAreForgotten(t *testing.T) {
	a := newRig(t, func(c *config.Config) { c.HeartbeatMS = 100 })
	const n = 8 << 20
	local := a.buffer(n, types.RemoteNone)
	for range 3 {
		owner := startProcess(t, "127.0.0.1:0", "")
		remote := owner.do(command{Do: "register", Bytes: n, Remote: types.RemoteAll, Seed: 1}).ID
		seg := a.open(owner.address)
		a.must(one(types.Write, seg, local.id, remote, 0, 0, 4096))
		owner.stop() // so that the WRITE is in flight for sure
		batch := a.submit(one(types.Write, seg, local.id, remote, 0, 0, n))
		require.Eventually(t, func() bool { x, _ := batch.ExplainJSON(); return strings.Contains(string(x), `"tcp":`) }, patience, time.Millisecond)
		owner.kill()
		require.Error(t, a.finish(batch))
		require.NoError(t, a.CloseSegment(seg))
	}
	waitUntil(func() bool { return len(a.statusNow().Peers) == 0 })
	s := a.statusNow()
	for _, p := range s.Peers {
		t.Logf("kept: %s batches=%d session=%s retiring=%d last=%s", p.Instance, p.Batches, p.Session, p.View.Of.Retiring, p.LastError)
	}
	require.Empty(t, s.Peers)
}

// ID 0 is no ID; it must be refused, not wait for the stall deadline.
func TestRemoteIDZero(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local := a.buffer(4096, types.RemoteNone)
	seg := a.open(b.address())
	batch, err := a.Submit(one(types.Read, seg, local.id, 0, 0, 0, 64))
	if err != nil {
		return
	}
	defer batch.Cancel()
	if !batch.Wait(5 * time.Second) { // the stall deadline is 30 s
		x, _ := batch.ExplainJSON()
		t.Fatalf("batch hangs: %s", x)
	}
}

// one label that is not UTF-8 makes the whole segment undescribable for everybody.
func TestBadLabel(t *testing.T) {
	a, b := newRig(t), newRig(t)
	m := b.alloc(4096)
	_, err := b.Register([]Registration{{Address: m.addr, Length: 4096, Remote: types.RemoteAll, Perm: types.PermRead, Label: "bad\xff"}})
	if err != nil {
		return // right: the caller who gave it hears of it
	}
	task, err := a.Open(b.address(), 3*time.Second)
	require.NoError(t, err)
	require.True(t, task.Wait(patience))
	require.NoError(t, task.Err())
}

// What the session would refuse to send is refused at once, with the reason.
func TestNotifyThatCannotBeSent(t *testing.T) {
	a, b := newRig(t), newRig(t)
	seg := a.open(b.address())
	_, err := a.Notify(seg, []byte("x"), "bad\xff", Batch{}, patience)
	requireCode(t, errcode.InvalidArgument, err)
	cfg := config.Default()
	cfg.MaxNotifyBytes = control.MaxNotifyBytes + 1
	requireCode(t, errcode.InvalidArgument, cfg.Validate())
}

// what an owner says unasked must not make a reader remember without bound.
func TestHostileOwnerFillsTheReader(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	_, p, err := a.segment("test", seg)
	require.NoError(t, err)
	// GRANT_REFUSED for IDs nobody asked about.
	for i := range uint64(100_000) {
		a.readerEvent(b.instance, &controlpb.Event{Kind: &controlpb.Event_GrantRefused{GrantRefused: &controlpb.GrantRefused{Id: 1000 + 2*i, Code: int32(errcode.StaleBuffer)}}})
	}
	for i := range uint64(20_000) {
		a.readerEvent(b.instance, &controlpb.Event{Kind: &controlpb.Event_GrantRefused{GrantRefused: &controlpb.GrantRefused{Id: 1_000_000 + 2*i, Code: int32(errcode.Revoked)}}})
	}
	time.Sleep(1500 * time.Millisecond) // negativeTTL is 1 s
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("view: %+v", p.view.Stats())
	require.Less(t, p.view.Stats().ClosedSpans, 10_000)
}

// time to take one DRAIN of 65,536 scattered IDs, under the peer's lock, and what it leaves behind.
func TestHostileDrains(t *testing.T) {
	v := coherence.NewView(coherence.ViewConfig{Instance: types.NewInstanceID(), Random: randomWord})
	v.SessionUp(0)
	began := time.Now()
	for m := range uint64(8) {
		ids := make([]types.BufferID, 65536)
		for i := range ids {
			ids[i] = types.BufferID(randomWord())
		}
		one := time.Now()
		v.OnDrain(0, ids, 1, 0, types.Nonce(m+1))
		t.Logf("DRAIN %d: %v, %d spans", m, time.Since(one), v.Stats().ClosedSpans)
	}
	require.Less(t, v.Stats().ClosedSpans, 1<<18, "after %v", time.Since(began))
}

// an error is made from peer.addrs without peer.mu (run with -race).
func TestErrorsReadThePeerWithoutItsLock(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			s := one(types.Read, seg, local.id, remote.id, 0, 0, 8)
			s.Expected = types.NewInstanceID()
			_, _ = a.Submit(s)
		}
	}()
	_, p, err := a.segment("test", seg)
	require.NoError(t, err)
	for range 20 { // sessions come and go
		p.mu.Lock()
		s := p.session
		p.mu.Unlock()
		if s != nil {
			s.Close(errcode.New(errcode.PeerDead, "test", "cut"))
		}
		a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	}
	close(stop)
	<-done
}

// Destroy "blocks briefly"; a drain under way with a large D makes it wait for that D.
func TestDestroyDuringALongDrain(t *testing.T) {
	a := newRig(t, func(c *config.Config) { c.HeartbeatMS = 60_000 })
	writer := startProcess(t, "127.0.0.1:0", "")
	const n = 1 << 20
	local := writer.do(command{Do: "register", Bytes: n, Seed: 200}).ID
	target := a.buffer(n, types.RemoteAll)
	writer.do(command{Do: "open", Address: a.address()})
	writer.do(command{Do: "write-until-refused", Bytes: n, IDs: []types.BufferID{local}, Target: target.id, Window: 4})
	writer.stop()
	task, err := a.Drain([]types.BufferID{target.id}, time.Hour)
	require.NoError(t, err)
	require.False(t, task.Wait(100*time.Millisecond))
	began := time.Now()
	a.Destroy()
	t.Logf("Destroy took %v", time.Since(began))
	require.Less(t, time.Since(began), 5*4*time.Second)
}

// Close and Drain at once: Close reports the other drain's buffers as its own failure, and drains nothing.
func TestCloseWhileDraining(t *testing.T) {
	for i := range 30 {
		a := newRig(t)
		m := a.alloc(4096)
		var ids []types.BufferID
		for range 2000 {
			ids = append(ids, a.register(m, types.RemoteAll))
		}
		go func() {
			for _, id := range ids {
				if _, err := a.Drain([]types.BufferID{id}, -1); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		task := a.Close(time.Second)
		require.True(t, task.Wait(patience))
		require.NoError(t, task.Err(), "round %d", i)
	}
}
