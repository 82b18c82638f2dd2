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
