package engine

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// S8 and S2 while connections break: a COMPLETED WRITE is there in full and stays, whatever ended before it; after a
// revocation with any D not a byte changes.
func TestBytesUnderCuts(t *testing.T) {
	a, b, cc, dc := behindCutters(t)
	const n, workers = 512 << 10, 4
	pool := b.buffer(n*workers, types.RemoteGrants)
	seg := a.open(cc.addr())
	var stop atomic.Bool
	var codes sync.Map
	var wg sync.WaitGroup
	for w := range workers {
		local := a.buffer(n, types.RemoteNone)
		mine := pool.bytes[w*n : (w+1)*n]
		wg.Go(func() {
			for round := 0; !stop.Load(); round++ {
				g, err := b.Grant(pool.id, []types.Range{{Off: uint64(w) * n, Len: n}}, types.PermReadWrite, []types.InstanceID{{}, a.instance}[round%2])
				if err != nil {
					t.Error(err)
					return
				}
				for k := range 4 {
					pattern(local.bytes, byte(round*4+k))
					s := one(types.Write, seg, local.id, g, 0, uint64(w)*n, n)
					s.Deadline = time.Duration(1+rand.IntN(40)) * time.Millisecond * time.Duration(1+k*20)
					batch, err := a.Submit(s)
					if err != nil {
						count(&codes, "submit "+errcode.Of(err).String())
						continue
					}
					if !batch.Wait(patience) {
						x, _ := batch.ExplainJSON()
						t.Errorf("does not end: %s", x)
						return
					}
					count(&codes, errcode.Of(batch.Err()).String())
					if batch.Err() == nil {
						for range 2 {
							if !bytes.Equal(mine, local.bytes) {
								t.Error("S8: not what was written, or something older landed over it")
								return
							}
							time.Sleep(2 * time.Millisecond)
						}
					}
					_ = batch.Free()
				}
				last := one(types.Write, seg, local.id, g, 0, uint64(w)*n, n)
				flying, _ := a.Submit(last)
				task, err := b.Drain([]types.BufferID{g}, []time.Duration{0, 20 * time.Millisecond, time.Second}[round%3])
				if err != nil || !task.Wait(patience) || task.Err() != nil {
					t.Errorf("drain: %v", err)
					return
				}
				clear(mine)
				if (flying != Batch{}) {
					if !flying.Wait(patience) {
						t.Error("does not end")
						return
					}
					count(&codes, "revoked: "+errcode.Of(flying.Err()).String())
					_ = flying.Free()
				}
				time.Sleep(2 * time.Millisecond)
				if bytes.ContainsFunc(mine, func(r rune) bool { return r != 0 }) {
					t.Error("S2: a byte landed after the revocation")
					return
				}
			}
		})
	}
	end := time.Now().Add(4 * time.Second)
	for time.Now().Before(end) {
		time.Sleep(time.Duration(5+rand.IntN(60)) * time.Millisecond)
		if rand.IntN(2) == 0 {
			cc.cut()
		}
		dc.cut()
	}
	stop.Store(true)
	wg.Wait()
	logCodes(t, &codes)
}

func TestLongStop(t *testing.T) {
	a := newRig(t)
	owner := startProcess(t, "127.0.0.1:0", "")
	const n, workers = 1 << 20, 6
	remote := owner.do(command{Do: "register", Bytes: n * workers, Remote: types.RemoteAll, Seed: 1}).ID
	seg := a.open(owner.address)
	var stop atomic.Bool
	var codes sync.Map
	wg := load(t, a, seg, remote, n, workers, &stop, &codes)
	time.Sleep(200 * time.Millisecond)
	owner.stop()
	time.Sleep(9 * time.Second)
	owner.signal(syscall.SIGCONT)
	time.Sleep(2 * time.Second)
	stop.Store(true)
	wg.Wait()
	logCodes(t, &codes)
	local := a.buffer(n, types.RemoteNone)
	began := time.Now()
	a.must(one(types.Write, seg, local.id, remote, 0, 0, n))
	a.must(one(types.Read, seg, local.id, remote, 0, 0, n))
	t.Logf("works again after %v", time.Since(began))
	require.Zero(t, a.statusNow().LiveBatches)
}
