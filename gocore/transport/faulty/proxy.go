package faulty

import (
	"net"
	"sync"
)

// Proxy listens on a port of its own and passes connections on to one address, with a plan for each direction.
type Proxy struct {
	l     net.Listener
	there string
	up    func(n int) Plan
	fired chan struct{}
	fire  func()
	wg    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  []*Conn
}

// NewProxy starts one. up is what happens to what clients send, back to what they get; by number of the connection.
func NewProxy(there string, up, back func(n int) Plan) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{l: NewListener(l, back), there: there, up: up, fired: make(chan struct{})}
	p.fire = sync.OnceFunc(func() { close(p.fired) })
	p.wg.Go(p.serve)
	return p, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// Fired is closed once the first fault of any connection has happened.
func (p *Proxy) Fired() <-chan struct{} { return p.fired }

// Close cuts everything and waits until all goroutines have left.
func (p *Proxy) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		_ = p.l.Close()
	}
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) serve() {
	for n := 0; ; n++ {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		in := c.(*Conn)
		in.also = p.fire
		there, err := net.Dial("tcp", p.there)
		if err != nil {
			_ = in.Reset()
			continue
		}
		out := NewConn(there, p.up(n))
		out.also = p.fire
		p.mu.Lock()
		closed := p.closed
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		if closed {
			_, _ = in.Close(), out.Close()
			return
		}
		p.wg.Go(func() { pass(out, in) })
		p.wg.Go(func() { pass(in, out) })
	}
}

// pass moves bytes until an end is reached, then ends both; a reset goes on as a reset.
func pass(to, from *Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				err = werr
			}
		}
		if err == nil {
			continue
		}
		if to.plan.Kind == Reset && to.hasFired() {
			_, _ = from.Reset(), to.Reset()
			return
		}
		_, _ = from.Close(), to.Close()
		return
	}
}
