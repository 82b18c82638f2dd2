// Package netfault breaks the network in tests: a TCP proxy whose connections can be cut, silenced or answered half way,
// all of them or those of one process.
package netfault

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between clients and a TCP server.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	mode    proxyMode
	refuses func(client net.Conn) bool
	changed *sync.Cond
	conns   map[net.Conn]struct{}
}

type proxyMode int

const (
	proxyHealthy proxyMode = iota
	proxyHolding           // nothing from the server
	proxySilent            // nothing either way
	proxyCut
	proxyClosed
)

// NewProxy starts one; it ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.set(proxyClosed)
		_ = l.Close()
		p.wg.Wait()
	})
	return p
}

// Address is where clients connect to.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// SetRefuses says which clients to cut off: f is asked for each new one.
func (p *Proxy) SetRefuses(f func(client net.Conn) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = f
}

// Cut resets all connections and every new one.
func (p *Proxy) Cut() { p.set(proxyCut) }

// HoldAnswers passes on what clients say and keeps what the server says.
func (p *Proxy) HoldAnswers() { p.set(proxyHolding) }

// Silence passes nothing on; connections stay.
func (p *Proxy) Silence() { p.set(proxySilent) }

// Heal passes on everything, what was kept first.
func (p *Proxy) Heal() { p.set(proxyHealthy) }

// Reset ends all connections; new ones are as the mode has it.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

func (p *Proxy) set(m proxyMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	if m >= proxyCut {
		for c := range p.conns {
			reset(c)
		}
	}
	p.changed.Broadcast()
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuses := p.refuses
		p.mu.Unlock()
		if refuses != nil && refuses(client) {
			reset(client)
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(client, server) {
			reset(client)
			if server != nil {
				reset(server)
			}
			continue
		}
		p.wg.Go(func() { p.copy(server, client, proxyHealthy) })
		p.wg.Go(func() { p.copy(client, server, proxyHolding) })
	}
}

// keep notes the connections, unless all are being cut.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode >= proxyCut {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

// copy passes bytes on while the mode is below the one that holds this direction back.
func (p *Proxy) copy(to, from net.Conn, holds proxyMode) {
	if holds == proxyHealthy {
		holds = proxySilent
	}
	defer func() {
		reset(to)
		reset(from)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && (!p.wait(holds) || writeAll(to, buffer[:n]) != nil) {
			return
		}
		if err != nil {
			return
		}
	}
}

// wait reports false when the connections are to end.
func (p *Proxy) wait(holds proxyMode) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mode >= holds && p.mode < proxyCut {
		p.changed.Wait()
	}
	return p.mode < proxyCut
}

func writeAll(to net.Conn, b []byte) error {
	n, err := to.Write(b)
	if err == nil && n < len(b) {
		err = errors.Join(err, io.ErrShortWrite)
	}
	return err
}
