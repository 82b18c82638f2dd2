package cluster

import (
	"context"
	"sync"
	"time"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// lane is what announcer and resolver share: the lock of a machine, its timer, and the goroutines that speak to the
// store for it.
type lane struct {
	mu      sync.Mutex
	now     func() types.Time
	timeout time.Duration
	observe func(op string, err error)

	timer  *time.Timer
	closed bool
	work   sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
}

func (l *lane) init(now func() types.Time, timeout time.Duration, observe func(string, error), wake func()) {
	l.now, l.timeout, l.observe = now, timeout, observe
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.timer = time.AfterFunc(time.Hour, wake)
	l.timer.Stop()
}

// spawn runs one request to the store. Callers hold mu, and answer must take it again: every request is answered once.
func (l *lane) spawn(op string, request func(ctx context.Context) error, answer func(now types.Time, err error)) {
	l.work.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
		err := request(ctx)
		cancel()
		l.observe(op, err)
		l.mu.Lock()
		defer l.mu.Unlock()
		answer(l.now(), err)
	})
}

// arm sets the timer. Callers hold mu.
func (l *lane) arm(at types.Time, wanted bool) {
	if !wanted || l.closed {
		l.timer.Stop()
		return
	}
	l.timer.Reset(max(time.Duration(at-l.now()), time.Millisecond))
}

// stop ends every request under way and waits for them.
func (l *lane) stop() {
	l.mu.Lock()
	l.closed = true
	l.timer.Stop()
	l.mu.Unlock()
	l.cancel()
	l.work.Wait()
}

// codeOf is the code that a machine is told: what is none of ours means that there was no answer.
func codeOf(err error) errcode.Code {
	if code := errcode.Of(err); code != errcode.Internal {
		return code
	}
	return errcode.MetadataUnavailable
}
