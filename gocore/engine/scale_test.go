package engine

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// The engine of another owner registers the same memory while a peer still writes to the old one, under the old name.
func TestAnotherOwnersMemoryAtTheSameAddress(t *testing.T) {
	writer := startProcess(t, "127.0.0.1:0", "")
	const n = 2 << 20
	local := writer.do(command{Do: "register", Bytes: n, Seed: 200}).ID
	home := newRig(t) // holds the memory; the owners below come and go
	b := home.alloc(n)
	address, data := "127.0.0.1:0", "127.0.0.1:0"
	for round := range trials(20) {
		owner := newRig(t, func(c *config.Config) { c.Listen, c.DataListen = address, data })
		address, data = owner.Info().Addresses[0], owner.Info().DataAddresses[0]
		id := owner.register(b, types.RemoteAll)
		writer.do(command{Do: "open", Address: address})
		writer.do(command{Do: "write-until-refused", Bytes: n, IDs: []types.BufferID{local}, Target: id, Window: 4})
		task := owner.Close(time.Duration(round%2) * time.Second)
		require.True(t, task.Wait(patience))
		require.NoError(t, task.Err())

		next := newRig(t, func(c *config.Config) { c.Listen, c.DataListen = address, data })
		require.Equal(t, id, next.register(b, types.RemoteAll), "the same number, address and name, but another instance")
		pattern(b.bytes, byte(round))
		loop := writer.do(command{Do: "loop-report"}).Loop
		require.NotEmpty(t, loop.Codes)
		require.Equal(t, patterned(n, byte(round)), b.bytes)
		next.Destroy()
	}
}

func TestThousandsOfGrants(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const block, blocks = 512, 10_000
	local, pool := a.buffer(block*blocks, types.RemoteNone), b.buffer(block*blocks, types.RemoteGrants)
	pattern(local.bytes, 9)
	seg := a.open(b.address())
	s := &Submission{Op: types.Write, Segment: seg, LocalIDs: []uint64{uint64(local.id)}, Lens: []uint64{block}}
	grants := make([]types.BufferID, blocks)
	for i := range grants {
		var err error
		grants[i], err = b.Grant(pool.id, []types.Range{{Off: uint64(i * block), Len: block}}, types.PermReadWrite, a.instance)
		require.NoError(t, err)
		s.LocalOffs = append(s.LocalOffs, uint64(i*block))
		s.RemoteOffs = append(s.RemoteOffs, uint64(i*block))
		s.RemoteIDs = append(s.RemoteIDs, uint64(grants[i]))
	}
	require.Equal(t, blocks, b.statusNow().Owner.Of.Grants)
	a.must(s) // one batch over 10^4 grants
	require.Equal(t, local.bytes, pool.bytes)

	var slowest time.Duration
	for i := 0; i < blocks; i += 100 {
		began := time.Now()
		report := b.drained(grants[i:i+1], patience)
		slowest = max(slowest, time.Since(began))
		require.Len(t, report.Acknowledged, 1)
		_, err := a.Submit(one(types.Write, seg, local.id, grants[i], 0, uint64(i*block), block))
		requireCode(t, errcode.Revoked, err)
		a.must(one(types.Write, seg, local.id, grants[i+1], 0, uint64((i+1)*block), block))
	}
	t.Logf("100 of 10^4 grants revoked one by one, slowest %v", slowest)
	b.drained(grants[1:2], patience)
	b.drained([]types.BufferID{pool.id}, patience) // takes all the rest along
	require.Zero(t, b.statusNow().Owner.Of.Grants)
}

// 1,000 registrations and drops of other buffers during 10,000 transfers fail none and rebuild no connection.
func TestRegistrationsComeAndGoUnderLoad(t *testing.T) {
	a, b := newRig(t), newRig(t, func(c *config.Config) { c.HeartbeatMS = 1000 })
	local, remote := a.buffer(16<<10, types.RemoteNone), b.buffer(16<<10, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, 64))
	var opened map[types.PathID]bool
	require.Eventually(t, func() bool {
		opened = a.statusNow().pathIDs()
		return len(opened) == a.cfg.ConnectionsPerPeer
	}, patience, time.Millisecond)
	churned := make(chan error, 1)
	go func() { churned <- b.churn(1000) }()
	transfers := 0
	for running := true; running || transfers < 10_000; transfers++ {
		a.must(one(types.Write, seg, local.id, remote.id, 0, 0, 16<<10))
		select {
		case err := <-churned:
			require.NoError(t, err)
			running = false
		default:
		}
	}
	require.Equal(t, opened, a.statusNow().pathIDs(), "no connection was rebuilt")
	t.Logf("1000 registrations and drops during %d transfers", transfers)
}

// churn registers and drops other buffers.
func (r *rig) churn(times int) error {
	other := r.alloc(4096)
	for range times {
		ids, err := r.Register([]Registration{{Address: other.addr, Length: 4096, Remote: types.RemoteAll, Perm: types.PermRead}})
		if err != nil {
			return err
		}
		task, err := r.Drain(ids, patience)
		if err != nil {
			return err
		}
		<-task.Done()
		if err := task.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (s Status) pathIDs() map[types.PathID]bool {
	ids := map[types.PathID]bool{}
	for _, p := range s.Peers {
		for _, path := range p.Paths {
			ids[path.ID] = true
		}
	}
	return ids
}

// footprint is what must not grow: goroutines, descriptors, heap in use.
type footprint struct {
	goroutines, fds int
	heap            uint64
}

func measure(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	runtime.GC()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), len(entries), m.HeapAlloc}
}

// requireFlat waits until everything is back to where it was; slack covers caches of bounded size.
func requireFlat(t *testing.T, before footprint, heapSlack uint64) {
	t.Helper()
	var now footprint
	if !waitUntil(func() bool {
		now = measure(t)
		return now.goroutines <= before.goroutines && now.fds <= before.fds && now.heap <= before.heap+heapSlack
	}) {
		t.Fatalf("before %+v, now %+v", before, now)
	}
	t.Logf("before %+v, after %+v", before, now)
}

func waitUntil(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

func TestRegisterCyclesLeaveNothingBehind(t *testing.T) {
	a, b := newRig(t), newRig(t)
	local, remote := a.buffer(4096, types.RemoteNone), b.buffer(4096, types.RemoteAll)
	seg := a.open(b.address())
	a.must(one(types.Write, seg, local.id, remote.id, 0, 0, 4096))
	require.NoError(t, b.churn(500))
	before := measure(t)
	require.NoError(t, b.churn(trials(10_000)))
	requireFlat(t, before, 2<<20)
	require.Equal(t, 1, b.statusNow().Owner.Of.Registrations)
}

// Peers that said goodbye are no holders any more, so a drain does not wait for them.
func TestDrainAfterManyGoodbyes(t *testing.T) {
	b := newRig(t)
	remote := b.buffer(4096, types.RemoteAll)
	for range 40 {
		a := newRig(t)
		local := a.buffer(4096, types.RemoteNone)
		a.must(one(types.Read, a.open(b.address()), local.id, remote.id, 0, 0, 64))
		a.Destroy()
	}
	report := b.drained([]types.BufferID{remote.id}, patience)
	require.Empty(t, report.TimedOut)
	require.Less(t, report.WaitedMS, 20_000.0, "nobody is left to wait for")
}

func TestConnectCyclesLeaveNothingBehind(t *testing.T) {
	b := newRig(t)
	remote := b.buffer(4096, types.RemoteAll)
	cycle := func() {
		cfg := config.Default()
		cfg.LogLevel = "error"
		e, err := New(cfg)
		require.NoError(t, err)
		a := &rig{Engine: e, t: t}
		local := a.buffer(4096, types.RemoteNone)
		a.must(one(types.Write, a.open(b.address()), local.id, remote.id, 0, 0, 4096))
		e.Destroy()
	}
	for range 100 {
		cycle()
	}
	settled := func() bool { s := b.statusNow(); return len(s.Peers) == 0 && len(s.Holders) == 0 }
	require.True(t, waitUntil(settled), "peers that are gone are pruned")
	before := measure(t)
	for range trials(1000) {
		cycle()
	}
	require.True(t, waitUntil(settled), "peers that are gone are pruned: %s", fmt.Sprint(b.statusNow().Peers))
	requireFlat(t, before, 2<<20)
}
