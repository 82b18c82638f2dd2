package local

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Config of a path. Memory and Sink are required.
type Config struct {
	ID     types.PathID
	Memory transport.Memory
	Sink   transport.Sink
	Logger *slog.Logger // default: discard
}

// Path is the way of an engine to itself (transport.Path, and transport.Conn for the owner's side).
type Path struct {
	cfg  Config
	wake chan struct{}

	moved atomic.Uint64
	stop  atomic.Pointer[transport.Post] // the post to give up, if it is the present one
	cut   atomic.Bool

	mu      sync.Mutex
	queues  [types.NumClasses][]*transport.Post
	waiting map[*transport.Post]struct{}
	current *transport.Post
	cause   error // why the path goes down
	down    bool
	reports sync.WaitGroup
}

// New makes a path and starts its worker; Close ends it.
func New(cfg Config) *Path {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Path{cfg: cfg, wake: make(chan struct{}, 1), waiting: map[*transport.Post]struct{}{}}
	go p.work()
	return p
}

// ID is what Config said.
func (p *Path) ID() types.PathID { return p.cfg.ID }

// Kind is "local".
func (p *Path) Kind() string { return "local" }

// Info is a snapshot. What goes out of one's own memory comes in there too.
func (p *Path) Info() transport.PathInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.waiting)
	if p.current != nil {
		n++
	}
	moved := p.moved.Load()
	return transport.PathInfo{
		ID: p.cfg.ID, Kind: p.Kind(), Local: "self", Remote: "self",
		BytesOut: moved, BytesIn: moved, PostsPending: n,
	}
}

// Post queues post.
func (p *Path) Post(post *transport.Post) {
	p.mu.Lock()
	if p.down {
		r := p.lost()
		p.mu.Unlock()
		go p.cfg.Sink.PostDone(p, post, r) // nobody waits for this one
		return
	}
	p.waiting[post] = struct{}{}
	class := post.Class % types.NumClasses
	p.queues[class] = append(p.queues[class], post)
	p.mu.Unlock()
	p.kick()
}

// Abort gives a post up.
func (p *Path) Abort(post *transport.Post) {
	p.mu.Lock()
	_, queued := p.waiting[post]
	if queued && !p.down {
		delete(p.waiting, post) // its place in the queue is skipped
		p.reports.Add(1)
	}
	if p.current == post {
		p.stop.Store(post)
	}
	down := p.down
	p.mu.Unlock()
	if queued && !down {
		go p.report(post, transport.Result{Code: errcode.Canceled, Detail: "given up before it began"})
	}
}

// Close ends the path; the worker leaves after its present piece.
func (p *Path) Close(cause error) {
	if cause == nil {
		cause = errcode.New(errcode.Closed, "close path", "closed by this side")
	}
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	p.mu.Unlock()
	p.cut.Store(true)
	p.kick()
}

// Kill is Close for the owner's side (transport.Conn).
func (p *Path) Kill(cause error) { p.Close(cause) }

func (p *Path) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Path) report(post *transport.Post, r transport.Result) {
	defer p.reports.Done()
	p.cfg.Sink.PostDone(p, post, r)
}

// next is the next post, latency before bulk; nil if there is none. Callers hold mu.
func (p *Path) next() *transport.Post {
	for class := range p.queues {
		for len(p.queues[class]) > 0 {
			post := p.queues[class][0]
			p.queues[class][0] = nil
			p.queues[class] = p.queues[class][1:]
			if _, ok := p.waiting[post]; ok {
				delete(p.waiting, post)
				return post
			}
		}
		p.queues[class] = nil
	}
	return nil
}

// lost is the result of a post that the path's end kept from beginning. Callers hold mu.
func (p *Path) lost() transport.Result {
	code := errcode.Of(p.cause)
	return transport.Result{Code: code, Detail: p.cause.Error()}
}

func (p *Path) work() {
	m := mover{p: p}
	for {
		p.mu.Lock()
		if p.cause != nil {
			break
		}
		post := p.next()
		p.current = post
		p.mu.Unlock()
		if post == nil {
			<-p.wake
			continue
		}
		r := m.move(post)
		p.mu.Lock()
		p.current = nil
		p.stop.Store(nil)
		p.mu.Unlock()
		p.cfg.Sink.PostDone(p, post, r)
	}
	for post := p.next(); post != nil; post = p.next() {
		r := p.lost()
		p.mu.Unlock()
		p.cfg.Sink.PostDone(p, post, r)
		p.mu.Lock()
	}
	p.down = true
	cause := p.cause
	p.mu.Unlock()
	p.reports.Wait()
	p.cfg.Sink.PathDown(p, cause)
}
