package mem

import (
	"context"
	"errors"
	"sync"
	"time"

	"mooncake_te/gocore/store"
)

// maxQueue bounds what a watcher that does not keep up may hold; past it, it lists again.
const maxQueue = 4096

var (
	errWentBack = errors.New("the store has another ID or went back; list again")
	errOverflow = errors.New("the watcher fell behind; list again")
	errCompact  = errors.New("the revisions needed were compacted; list again")
)

// watcher is the queue between the server, which must not wait, and one Watch.
type watcher struct {
	cluster string
	wake    chan struct{} // one slot

	mu     sync.Mutex
	events []store.Event
	broken error
}

func newWatcher(cluster string, first store.Event) *watcher {
	w := &watcher{cluster: cluster, wake: make(chan struct{}, 1)}
	w.push(first)
	return w
}

func (w *watcher) push(e store.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) >= maxQueue {
		w.events, w.broken = nil, errOverflow
	}
	if w.broken == nil {
		w.events = append(w.events, e)
	}
	w.ring()
}

func (w *watcher) end(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = why
	}
	w.ring()
}

func (w *watcher) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() (events []store.Event, broken error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, w.events = w.events, nil
	return events, w.broken
}

// run waits for one thing to happen and handles it.
func (w *watcher) run(ctx context.Context, s *Store, tick <-chan time.Time, f func(store.Event)) error {
	const op = "watch"
	_, mine := s.link.now()
	_, everybodys := s.server.link.now()
	var progress bool
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return store.Closed(op, s.url())
	case <-mine: // changed; the look below says how
	case <-everybodys:
	case <-w.wake:
	case <-tick:
		progress = true
	}
	for _, link := range []*Link{s.server.link, s.link} {
		patience, cancel := context.WithTimeout(ctx, 3*s.server.options.Progress)
		err := link.pass(patience, true)
		cancel()
		if err != nil {
			return store.Unavailable(op, s.url(), err)
		}
	}
	s.server.mu.Lock()
	events, broken := w.take()
	revision := s.server.state.revision
	s.server.mu.Unlock()
	for _, e := range events {
		f(e)
	}
	if broken != nil {
		return store.Unavailable(op, s.url(), broken)
	}
	if progress {
		f(store.Event{Progress: &store.Progress{Revision: revision}})
	}
	return nil
}
