package engine

import (
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// cutter is a TCP proxy that resets its connections when told.
type cutter struct {
	l      net.Listener
	target string
	mu     sync.Mutex
	conns  map[net.Conn]bool
	early  atomic.Bool // reset right after the first answer
	wg     sync.WaitGroup
}

func newCutter(t *testing.T) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{l: l, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); c.cut(); c.wg.Wait() })
	return c
}

func (c *cutter) addr() string { return c.l.Addr().String() }

func (c *cutter) serve(target string) {
	c.target = target
	c.wg.Go(func() {
		for {
			in, err := c.l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			c.mu.Lock()
			c.conns[in], c.conns[out] = true, true
			c.mu.Unlock()
			pump := func(dst, src net.Conn, early bool) {
				buf := make([]byte, 64<<10)
				for {
					n, err := src.Read(buf)
					if n > 0 {
						if _, err := dst.Write(buf[:n]); err != nil {
							break
						}
						if early && c.early.Load() && rand.IntN(2) == 0 {
							break
						}
					}
					if err != nil {
						break
					}
				}
				_ = dst.(*net.TCPConn).SetLinger(0)
				_ = src.(*net.TCPConn).SetLinger(0)
				dst.Close()
				src.Close()
			}
			c.wg.Go(func() { pump(out, in, false) })
			c.wg.Go(func() { pump(in, out, true) })
		}
	})
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		delete(c.conns, conn)
	}
}

var _ = io.EOF

// freePort is an address of the test's own: a socket that is bound but does not listen keeps it from everybody who asks
// for any port, and leaves it to who names it. Until then who dials it is refused.
func freePort(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port)).String()
}

func load(t *testing.T, a *rig, seg types.SegmentID, remote types.BufferID, n uint64, workers int, stop *atomic.Bool, codes *sync.Map) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range workers {
		local := a.buffer(int(n), types.RemoteNone)
		op := []types.Op{types.Read, types.Write}[i%2]
		wg.Go(func() {
			off := uint64(i) * n
			for !stop.Load() {
				b, err := a.Submit(one(op, seg, local.id, remote, 0, off, n))
				if err != nil {
					count(codes, "submit "+errcode.Of(err).String())
					time.Sleep(time.Millisecond)
					continue
				}
				if !b.Wait(patience) {
					x, _ := b.ExplainJSON()
					t.Errorf("batch does not end: %s", x)
					return
				}
				count(codes, errcode.Of(b.Err()).String())
				_ = b.Free()
			}
		})
	}
	return &wg
}

func count(m *sync.Map, k string) {
	v, _ := m.LoadOrStore(k, new(atomic.Int64))
	v.(*atomic.Int64).Add(1)
}

func logCodes(t *testing.T, m *sync.Map) {
	m.Range(func(k, v any) bool { t.Logf("%v: %d", k, v.(*atomic.Int64).Load()); return true })
}

// behindCutters makes two engines, the second reachable only through a cutter before each of its ports.
func behindCutters(t *testing.T) (a, b *rig, control, data *cutter) {
	control, data = newCutter(t), newCutter(t)
	cl, dl := freePort(t), freePort(t)
	a = newRig(t)
	b = newRig(t, func(c *config.Config) {
		c.Listen, c.DataListen = cl, dl
		c.Advertise, c.DataAdvertise = []string{control.addr()}, []string{data.addr()}
	})
	control.serve(cl)
	data.serve(dl)
	return a, b, control, data
}

func cutTest(t *testing.T, control, data, early bool) {
	a, b, cc, dc := behindCutters(t)
	const n, workers = 256 << 10, 4
	remote := b.buffer(n*workers, types.RemoteAll)
	seg := a.open(cc.addr())
	var stop atomic.Bool
	var codes sync.Map
	wg := load(t, a, seg, remote.id, n, workers, &stop, &codes)
	end := time.Now().Add(3 * time.Second)
	for time.Now().Before(end) {
		time.Sleep(time.Duration(5+rand.IntN(60)) * time.Millisecond)
		dc.early.Store(early && rand.IntN(2) == 0)
		if control {
			cc.cut()
		}
		if data {
			dc.cut()
		}
	}
	dc.early.Store(false)
	stop.Store(true)
	wg.Wait()
	logCodes(t, &codes)
	local := a.buffer(n, types.RemoteNone)
	a.must(one(types.Write, seg, local.id, remote.id, 0, 0, n))
	a.must(one(types.Read, seg, local.id, remote.id, 0, 0, n))
	b.drained([]types.BufferID{remote.id}, patience)
}

func TestControlCut(t *testing.T) { cutTest(t, true, false, false) }
func TestDataCut(t *testing.T)    { cutTest(t, false, true, false) }
func TestBothCut(t *testing.T)    { cutTest(t, true, true, true) }

func TestClosingUnderLoad(t *testing.T) {
	for round := range 25 {
		a, b := newRig(t), newRig(t)
		const n, workers = 256 << 10, 4
		ra, rb := a.buffer(n*workers, types.RemoteAll), b.buffer(n*workers, types.RemoteAll)
		sab, sba, saa := a.open(b.address()), b.open(a.address()), a.open(a.address())
		var stop atomic.Bool
		var codes sync.Map
		w1 := load(t, a, sab, rb.id, n, workers, &stop, &codes)
		w2 := load(t, b, sba, ra.id, n, workers, &stop, &codes)
		w3 := load(t, a, saa, ra.id, n, workers, &stop, &codes)
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		var wg sync.WaitGroup
		began := time.Now()
		wg.Go(func() {
			if round%2 == 0 {
				<-a.Close(time.Second).Done()
			}
			a.Destroy()
		})
		wg.Go(func() { b.Destroy() })
		wg.Wait()
		if d := time.Since(began); d > 5*3*time.Second { // a second each for Close, its goodbyes, and Destroy
			t.Errorf("round %d: closing took %v", round, d)
		}
		stop.Store(true)
		w1.Wait()
		w2.Wait()
		w3.Wait()
	}
}

func TestStoppedPeerComesBack(t *testing.T) {
	a := newRig(t)
	owner := startProcess(t, "127.0.0.1:0", "")
	const n, workers = 1 << 20, 6
	remote := owner.do(command{Do: "register", Bytes: n * workers, Remote: types.RemoteAll, Seed: 1}).ID
	seg := a.open(owner.address)
	var stop atomic.Bool
	var codes sync.Map
	wg := load(t, a, seg, remote, n, workers, &stop, &codes)
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		owner.stop()
		time.Sleep(1500 * time.Millisecond)
		owner.signal(syscall.SIGCONT)
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	logCodes(t, &codes)
	local := a.buffer(n, types.RemoteNone)
	began := time.Now()
	a.must(one(types.Write, seg, local.id, remote, 0, 0, n))
	a.must(one(types.Read, seg, local.id, remote, 0, 0, n))
	t.Logf("works again after %v", time.Since(began))
	owner.do(command{Do: "drain", IDs: []types.BufferID{remote}, WithinMS: 2000})
	require.Zero(t, a.statusNow().LiveBatches)
}

func TestRevokeUnderLoad(t *testing.T) {
	a, b := newRig(t), newRig(t)
	const n = 64 << 10
	pool := b.buffer(n*8, types.RemoteGrants)
	seg := a.open(b.address())
	var wg sync.WaitGroup
	var codes sync.Map
	for i := range 8 {
		local := a.buffer(n, types.RemoteNone)
		for k := range local.bytes {
			local.bytes[k] = 0xAA
		}
		wg.Go(func() {
			for round := range 150 {
				g, err := b.Grant(pool.id, []types.Range{{Off: uint64(i) * n, Len: n}}, types.PermReadWrite, []types.InstanceID{{}, a.instance}[round%2])
				if err != nil {
					t.Error(err)
					return
				}
				var batches []Batch
				for range 3 {
					batch, err := a.Submit(one(types.Write, seg, local.id, g, 0, uint64(i)*n, n))
					if err == nil {
						batches = append(batches, batch)
					}
				}
				task, err := b.Drain([]types.BufferID{g}, 0)
				if err != nil || !task.Wait(patience) || task.Err() != nil {
					t.Errorf("drain: %v %v", err, task)
					return
				}
				mine := pool.bytes[i*n : (i+1)*n]
				clear(mine)
				for _, batch := range batches {
					if !batch.Wait(patience) {
						x, _ := batch.ExplainJSON()
						t.Errorf("does not end: %s", x)
						return
					}
					count(&codes, errcode.Of(batch.Err()).String())
					_ = batch.Free()
				}
				for _, c := range mine {
					if c != 0 {
						t.Error("a byte landed after the revocation")
						return
					}
				}
			}
		})
	}
	wg.Wait()
	logCodes(t, &codes)
	b.drained([]types.BufferID{pool.id}, patience)
}

func TestRestartsUnderLoad(t *testing.T) {
	a := newRig(t)
	const n, workers = 256 << 10, 4
	owner := startProcess(t, "127.0.0.1:0", "127.0.0.1:0")
	address, data := owner.address, owner.data
	remote := owner.do(command{Do: "register", Bytes: n * workers, Remote: types.RemoteAll, Seed: 1}).ID
	seg := a.open(address)
	var stop atomic.Bool
	var codes sync.Map
	wg := load(t, a, seg, remote, n, workers, &stop, &codes)
	for range 6 {
		time.Sleep(200 * time.Millisecond)
		owner.kill()
		owner = startProcess(t, address, data)
		remote = owner.do(command{Do: "register", Bytes: n * workers, Remote: types.RemoteAll, Seed: 1}).ID
		task, err := a.Refresh(seg, patience)
		require.NoError(t, err)
		a.opened(task)
	}
	stop.Store(true)
	wg.Wait()
	logCodes(t, &codes)
	local := a.buffer(n, types.RemoteNone)
	a.must(one(types.Write, seg, local.id, remote, 0, 0, n))
	require.Eventually(t, func() bool { return len(a.statusNow().Peers) == 1 }, patience, 10*time.Millisecond, "replaced peers are forgotten")
}
