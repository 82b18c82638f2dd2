package tcp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// hotPair is a path that has just got hot, and a small post on it that was not given to it yet.
func hotPair(t *testing.T) (*pair, *Path, *conformance.Recorder, *transport.Post) {
	t.Helper()
	p := newPair(t, nil)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, nil)
	g := p.target.Add(t, 4096, types.PermReadWrite, types.InstanceID{})
	b := conformance.Block(t, 4096)
	for range hotStreak - 1 {
		path.helped()
	}
	require.Equal(t, 1, path.mark(t), "too early")
	path.helped()
	return p, path, rec, conformance.NewPost(types.Write, true, transport.Slice{Local: b.Addr(), Remote: g.ID, Len: 4096})
}

// mark is what the kernel thinks of the path: how much input wakes the reader.
func (p *Path) mark(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, p.s.raw.Control(func(fd uintptr) {
		var err error
		n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT)
		require.NoError(t, err)
	}))
	return n
}

func (p *Path) isHot() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hot.on
}

func (p *Path) cools(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return !p.isHot() }, conformance.Patience, time.Millisecond)
	require.Equal(t, 1, p.mark(t))
}

func TestHotPathIsHushed(t *testing.T) {
	_, path, _, _ := hotPair(t)
	path.mu.Lock()
	if path.hot.on { // it cools by itself
		require.Equal(t, quietMark, path.mark(t))
	}
	path.mu.Unlock()
	path.cools(t)
}

// A reply on a hot path that no waiter comes for is the reader's in the end.
func TestHotPathAndNobodyComes(t *testing.T) {
	_, path, rec, post := hotPair(t)
	path.Hold(post)
	path.Push()
	require.Equal(t, errcode.OK, rec.Wait(t, post).Code)
	path.cools(t)
}

// A path that was hot for nothing gets hot less easily.
func TestHotPathIsWatched(t *testing.T) {
	_, path, _, post := hotPair(t)
	path.mu.Lock()
	path.hot.timer.Stop()
	path.posts[post.ID] = path.newItem(post) // as if it were under way
	path.hot.on, path.hot.seen = true, path.hot.beats
	path.mu.Unlock()
	path.watch()
	require.False(t, path.isHot())
	path.mu.Lock()
	require.Equal(t, 2*hotStreak, path.hot.need)
	delete(path.posts, post.ID)
	path.mu.Unlock()
	for range 2*hotStreak - 1 {
		path.helped()
	}
	require.False(t, path.isHot(), "it was hot for nothing")
}

// What may leave a reply to the reader cools a path at once.
func TestHotPathCools(t *testing.T) {
	for name, f := range map[string]func(*Path, *transport.Post){
		"a post of the writer": func(p *Path, post *transport.Post) { p.Post(post) },
		"a waiter asleep":      func(p *Path, _ *transport.Post) { p.Rouse() },
		"an abort": func(p *Path, post *transport.Post) {
			p.Hold(post)
			p.Abort(post)
			p.Push()
		},
		"posts of others": func(p *Path, post *transport.Post) {
			p.Hold(post)
			p.helped()
			p.Push()
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, path, rec, post := hotPair(t)
			path.mu.Lock()
			path.hot.timer.Stop() // the watch would do it as well, in time
			path.mu.Unlock()
			f(path, post)
			require.False(t, path.isHot())
			require.Equal(t, 1, path.mark(t))
			path.Close(nil)
			rec.WaitDown(t)
		})
	}
}

// The end of a hushed connection is noticed.
func TestHotPathDies(t *testing.T) {
	p, path, rec, _ := hotPair(t)
	path.mu.Lock()
	path.hot.timer.Stop()
	path.mu.Unlock()
	p.server.Close()
	require.Error(t, rec.WaitDown(t))
	rec.RequireExact(t, nil, true)
}

// An inbound connection that was hushed while its handler looked is roused before it sleeps: requests in two parts, with
// any pause between them, are served.
func TestHushedServerSleeps(t *testing.T) {
	p := newPair(t, nil)
	g := p.target.Add(t, 4096, types.PermReadWrite, types.InstanceID{})
	r := p.known(t)
	for i := range 4 * hotStreak {
		h := r.header(OpWrite, g.ID, 0, 100)
		b := append(h.Append(nil), chunk(make([]byte, 100))...)
		b = append(b, last...)
		cut := len(b)
		if i%8 == 7 {
			cut = HeaderLen + i
		}
		r.send(b[:cut])
		if cut < len(b) {
			r.pause()
			r.send(b[cut:])
		}
		var rep Reply
		err := rep.Decode(r.recv(HeaderLen), testLimits)
		require.Nil(t, err)
		require.Equal(t, errcode.OK, rep.Status)
	}
}
