package control

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"mooncake_te/gocore/errcode"
)

const (
	maxPooled  = 256         // clients kept for Describe
	pooledIdle = time.Minute // after that a client's connection is closed; the client dials again when it is used
)

// connPool keeps the clients of Describe, one for each list of addresses. The zero value is empty.
type connPool struct {
	mu      sync.Mutex
	clients map[string]*pooled
	closed  bool
}

// pooled is a client in the pool. gRPC dials for it whenever it has no connection.
type pooled struct {
	client *grpc.ClientConn
	key    string
	used   time.Time // guarded by connPool.mu, like calls and dropped
	calls  int
	gone   bool

	mu   sync.Mutex
	conn *outConn // the last
	err  error    // of the last dial
}

// get returns a client for the addresses and whether it was there before. put gives it back.
func (p *connPool) get(n *Node, addrs []string) (c *pooled, reused bool, err error) {
	key := strings.Join(addrs, ",")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, errcode.New(errcode.Closed, "describe", "the engine is closing")
	}
	if c = p.clients[key]; c != nil {
		c.calls++
		return c, true, nil
	}
	c = &pooled{key: key, calls: 1}
	c.client, err = n.newClient(func(ctx context.Context) (net.Conn, error) {
		conn, err := n.connect(ctx, addrs)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conn, c.err = conn, err
		if err != nil {
			return nil, err
		}
		return conn, nil
	}, grpc.WithIdleTimeout(pooledIdle))
	if err != nil {
		return nil, false, errcode.New(errcode.Internal, "describe", "gRPC client").Wrap(err)
	}
	if len(p.clients) >= maxPooled {
		p.evict()
	}
	if p.clients == nil {
		p.clients = map[string]*pooled{}
	}
	p.clients[key] = c
	return c, false, nil
}

// put gives a client back; a client that failed is not used again, so that no back-off of gRPC's stands in the way.
func (p *connPool) put(c *pooled, failed bool) {
	p.mu.Lock()
	c.calls--
	c.used = time.Now()
	if failed || p.closed {
		p.drop(c)
	}
	last := c.gone && c.calls == 0
	p.mu.Unlock()
	if last {
		_ = c.client.Close()
	}
}

func (p *connPool) drop(c *pooled) {
	c.gone = true
	if p.clients[c.key] == c {
		delete(p.clients, c.key)
	}
}

// evict drops the client that has been idle longest, if any is.
func (p *connPool) evict() {
	var oldest *pooled
	for _, c := range p.clients {
		if c.calls == 0 && (oldest == nil || c.used.Before(oldest.used)) {
			oldest = c
		}
	}
	if oldest != nil {
		p.drop(oldest)
		_ = oldest.client.Close()
	}
}

// close ends all clients, also those in use.
func (p *connPool) close() {
	p.mu.Lock()
	p.closed = true
	all := p.clients
	p.clients = nil
	p.mu.Unlock()
	for _, c := range all {
		_ = c.client.Close()
	}
}

// last returns the last connection and the last dial's error.
func (c *pooled) last() (*outConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn, c.err
}
