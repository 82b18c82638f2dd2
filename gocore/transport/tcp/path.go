package tcp

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// Path is one outbound connection (transport.Prompt): a writer takes posts from the queues, latency before bulk, and a
// reader takes the replies; both roles may fall to a caller. A post is done when both are done with it.
type Path struct {
	d      *Dialer
	s      *stream
	send   *sender   // of whoever sends
	recv   *receiver // of whoever has the input
	wr     writer    // likewise
	rd     reader
	help   helper
	token  types.PathID
	target types.InstanceID

	local, remote string

	bytesOut, bytesIn atomic.Uint64
	wake              chan struct{} // the writer has something to look at
	running           atomic.Int32  // goroutines that may touch the stream

	mu      sync.Mutex
	queues  [types.NumClasses]fifo
	posts   map[uint64]*item // given to us and not reported, by request ID
	aborts  []uint64         // READs to tell the target about
	hot     hot
	busy    bool // somebody has wr and send
	begun   bool // a pusher left wr.it to the writer goroutine, which is busy from then on
	free    []*item
	cause   error // why the path is going down; nil while it is up
	down    bool  // nothing touches the stream any more and what was left was reported
	reports sync.WaitGroup
}

func newPath(d *Dialer, s *stream, token types.PathID, target types.InstanceID) *Path {
	p := &Path{
		d: d, s: s, send: newSender(s), recv: newReceiver(s), token: token, target: target,
		local: s.c.LocalAddr().String(), remote: s.c.RemoteAddr().String(),
		wake: make(chan struct{}, 1), posts: map[uint64]*item{},
	}
	p.wr = writer{p: p}
	p.wr.stop = p.wr.stopped
	p.rd = reader{p: p, between: func() {}}
	p.help = helper{spin: newSpinner(), step: p.look}
	return p
}

func (p *Path) limits() Limits { return Limits{Entries: p.d.cfg.MaxEntries, Chunk: MaxChunk} }

func (p *Path) start() {
	p.running.Store(2)
	p.s.owned.Store(true) // the reader's
	go p.writeLoop()
	go p.readLoop()
}

// ID is the connection's token.
func (p *Path) ID() types.PathID { return p.token }

// Kind is "tcp".
func (p *Path) Kind() string { return "tcp" }

// Info is a snapshot.
func (p *Path) Info() transport.PathInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return transport.PathInfo{
		ID: p.token, Kind: p.Kind(), Local: p.local, Remote: p.remote,
		BytesOut: p.bytesOut.Load(), BytesIn: p.bytesIn.Load(), PostsPending: len(p.posts),
	}
}

// Post queues p. A post that comes after PathDown is reported too.
func (p *Path) Post(post *transport.Post) {
	if p.queue(post, false) {
		p.kick()
	}
}

// Hold is Post before a Push (transport.Prompt).
func (p *Path) Hold(post *transport.Post) { p.queue(post, true) }

// queue puts a post in line; false says that it is being reported instead.
func (p *Path) queue(post *transport.Post, prompt bool) bool {
	r := p.refuse(post)
	p.mu.Lock()
	if p.down {
		if r.Code == errcode.OK {
			r = p.lost(nil)
		}
		p.mu.Unlock()
		go p.d.cfg.Sink.PostDone(p, post, r) // nobody waits for this one
		return false
	}
	if r.Code != errcode.OK {
		p.reports.Add(1)
		p.mu.Unlock()
		go p.report(post, r)
		return false
	}
	if !prompt {
		p.cool()
	}
	it := p.newItem(post)
	p.posts[post.ID] = it
	p.queues[post.Class%types.NumClasses].push(it)
	p.mu.Unlock()
	return true
}

// refuse checks what the protocol cannot carry. Callers are our own engine, so each is a slip of it.
func (p *Path) refuse(post *transport.Post) transport.Result {
	var sum uint64
	for i := range post.Slices {
		n := post.Slices[i].Len
		if n == 0 || sum+n < sum {
			return transport.Result{Code: errcode.InvalidArgument, Detail: "a slice is empty or the lengths overflow"}
		}
		sum += n
	}
	switch {
	case len(post.Slices) == 0 || sum != post.Bytes || sum > 1<<62:
		return transport.Result{Code: errcode.InvalidArgument, Detail: "the post's length is not that of its slices"}
	case len(post.Slices) > p.d.cfg.MaxEntries:
		return transport.Result{Code: errcode.InvalidArgument, Detail: "more slices than a request may have entries"}
	case post.Op != types.Read && post.Op != types.Write || post.ID == 0:
		return transport.Result{Code: errcode.InvalidArgument, Detail: "neither READ nor WRITE, or without an ID"}
	}
	return transport.Result{}
}

func (p *Path) newItem(post *transport.Post) *item {
	if n := len(p.free); n > 0 {
		it := p.free[n-1]
		p.free = p.free[:n-1]
		it.post = post
		return it
	}
	return &item{post: post}
}

// recycle takes an item back that nobody can reach any more. Callers hold mu.
func (p *Path) recycle(it *item) {
	it.stop.Store(false)
	it.pushed = time.Time{}
	it.post, it.sent, it.writing, it.written = nil, false, false, false
	it.replied, it.reported, it.aborted, it.fault, it.result = false, false, false, false, transport.Result{}
	if len(p.free) < 256 {
		p.free = append(p.free, it)
	}
}

// Abort gives a post up (transport.Path).
func (p *Path) Abort(post *transport.Post) {
	p.mu.Lock()
	it := p.posts[post.ID]
	if it == nil || it.post != post || it.aborted || it.reported || p.down {
		p.mu.Unlock()
		return
	}
	it.aborted = true
	p.cool()
	if !it.writing && !it.written {
		// Still queued: the writer drops it when it comes to it.
		it.reported = true
		delete(p.posts, post.ID)
		p.reports.Add(1)
		p.mu.Unlock()
		go p.report(post, transport.Result{Code: errcode.Canceled, Detail: "given up before it was sent"})
		return
	}
	it.stop.Store(true)
	tell := post.Op == types.Read && !it.replied
	if tell {
		p.aborts = append(p.aborts, post.ID)
	}
	p.mu.Unlock()
	if tell {
		p.kick()
	}
}

// Close cuts the connection (transport.Path).
func (p *Path) Close(cause error) {
	if cause == nil {
		cause = errcode.New(errcode.Closed, "close path", "closed by this side")
	}
	p.fail(cause)
}

// fail makes the path go down. It never waits.
func (p *Path) fail(cause error) {
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	p.mu.Unlock()
	p.s.kill()
	p.kick()
}

func (p *Path) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// leave ends one of the two goroutines; whoever is last to use the stream sweeps up.
func (p *Path) leave(cause error) {
	p.fail(cause)
	if p.running.Add(-1) == 0 {
		p.sweep()
	}
}

// sweep reports what is left of a path that nobody uses any more.
func (p *Path) sweep() {
	p.s.close()
	var cause error
	for {
		p.mu.Lock()
		it := p.anyPost()
		if it == nil {
			p.down = true
			cause = p.cause
			p.mu.Unlock()
			break
		}
		r := it.result
		if !it.replied {
			r = p.lost(it)
		}
		post := it.post
		delete(p.posts, post.ID)
		p.mu.Unlock()
		p.d.cfg.Sink.PostDone(p, post, r)
	}
	p.reports.Wait()
	p.d.cfg.Logger.Debug("data connection is down", "remote", p.remote, "error", cause)
	p.d.cfg.Sink.PathDown(p, cause)
}

func (p *Path) anyPost() *item {
	for _, it := range p.posts {
		return it
	}
	return nil
}

// lost is the result of a post whose path ended first; it is nil for one that came too late. Callers hold mu.
func (p *Path) lost(it *item) transport.Result {
	code := errcode.PeerUnreachable
	if e, ok := errors.AsType[*errcode.Error](p.cause); ok {
		code = e.Code
	}
	return transport.Result{Code: code, Sent: it != nil && it.sent, Detail: p.cause.Error()}
}

// report is PostDone from a goroutine of its own.
func (p *Path) report(post *transport.Post, r transport.Result) {
	defer p.reports.Done()
	p.d.cfg.Sink.PostDone(p, post, r)
}

// settle reports an item that both goroutines are done with.
func (p *Path) settle(it *item) {
	p.mu.Lock()
	if !it.replied || !it.written || it.reported {
		p.mu.Unlock()
		return
	}
	it.reported = true
	post, r := it.post, it.result
	delete(p.posts, post.ID)
	p.recycle(it)
	p.mu.Unlock()
	p.d.cfg.Sink.PostDone(p, post, r)
}

// lostPeer gives a raw error of the socket the code that the engine acts on.
func lostPeer(err error) error {
	if _, ok := errors.AsType[*errcode.Error](err); ok {
		return err
	}
	detail := "the data connection failed"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		detail = "the peer closed the data connection"
	}
	return errcode.New(errcode.PeerUnreachable, "use data connection", detail).Wrap(err)
}
