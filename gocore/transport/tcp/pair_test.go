package tcp

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/transport/conformance"
	"mooncake_te/gocore/types"
)

// pair is a server with a target behind it and what is needed to dial it.
type pair struct {
	target *conformance.Target
	server *Server
	self   types.InstanceID
}

func newPair(t testing.TB, change func(*Config)) *pair {
	t.Helper()
	p := &pair{target: conformance.NewTarget(), self: types.NewInstanceID()}
	cfg := Config{Memory: p.target, Admission: p.target}
	if change != nil {
		change(&cfg)
	}
	var err error
	p.server, err = Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(p.server.Close)
	return p
}

func (p *pair) dial(t testing.TB, sink transport.Sink, change func(*DialerConfig)) *Path {
	t.Helper()
	path, err := p.try(p.target.Token(p.self), p.target.Instance(), sink, change)
	require.NoError(t, err)
	t.Cleanup(func() { path.Close(nil) })
	return path.(*Path)
}

func (p *pair) try(token types.PathID, target types.InstanceID, sink transport.Sink, change func(*DialerConfig)) (transport.Path, error) {
	cfg := DialerConfig{Sink: sink}
	if change != nil {
		change(&cfg)
	}
	return NewDialer(cfg).Dial(context.Background(), p.server.Addresses(), token, target, p.self)
}

func TestSmoke(t *testing.T) {
	p := newPair(t, nil)
	rec := conformance.NewRecorder()
	path := p.dial(t, rec, nil)
	g := p.target.Add(t, 8<<20, types.PermReadWrite, types.InstanceID{})
	src, dst := conformance.Block(t, 8<<20), conformance.Block(t, 8<<20)
	for i := range src.Bytes() {
		src.Bytes()[i] = byte(i * 7 / 3)
	}
	for _, n := range []uint64{1, 4096, 8 << 20} {
		w := conformance.NewPost(types.Write, true, transport.Slice{Local: src.Addr(), Remote: g.ID, Len: n})
		path.Post(w)
		t.Log(rec.Wait(t, w))
		r := conformance.NewPost(types.Read, true, transport.Slice{Local: dst.Addr(), Remote: g.ID, Len: n})
		path.Post(r)
		t.Log(rec.Wait(t, r))
		require.Equal(t, src.Bytes()[:n], dst.Bytes()[:n])
	}
}
