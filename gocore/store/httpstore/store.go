// Package httpstore is the store behind http:// and https:// URLs.
//
// At the first contact it finds out what answers there: our metadata server, with which it keeps everything (this
// package), or a stock Mooncake metadata server, which knows GET, PUT and DELETE of one key only (package stockhttp).
// What was found holds until Close: an engine does not change its promises under way.
//
// # Ownership and concurrency
//
// As the Store interface says. A Store owns its connections; it starts no goroutines but those of net/http, which end
// with the connections at Close.
package httpstore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/store/stockhttp"
)

// Options of a store.
type Options struct {
	httplink.Options
	Keys store.Keys    // of the cluster
	Poll time.Duration // how often a stock server is asked; default a second
	// Silence is how long a watch may hear nothing; default 15 s.
	Silence time.Duration
}

// Store is a client of one server.
type Store struct {
	link  *httplink.Link
	ours  ours
	stock *stockhttp.Store

	found atomic.Pointer[store.Store] // what answered; nil: nothing yet
	ends  context.Context             // done: closed
	close context.CancelFunc
}

var (
	_ store.Store      = (*Store)(nil)
	_ store.Interested = (*Store)(nil)
	_ store.Detector   = (*Store)(nil)
)

// New checks the options; it does not connect.
func New(o Options) (*Store, error) {
	link, err := httplink.New(o.Options)
	if err != nil {
		return nil, err
	}
	s := &Store{link: link, stock: stockhttp.New(stockhttp.Options{Link: link, Keys: o.Keys, Poll: o.Poll, Patience: o.Silence})}
	if o.Silence <= 0 {
		o.Silence = 15 * time.Second
	}
	s.ours = ours{link: link, keys: o.Keys, silence: o.Silence, cluster: strings.Trim(strings.TrimPrefix(o.Keys.Ours(), store.Keys{}.Ours()), "/")}
	s.ends, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Info describes what answers there: our server until something else did.
func (s *Store) Info() store.Info {
	if found := s.found.Load(); found != nil {
		return (*found).Info()
	}
	return s.ours.Info()
}

// Detect finds out what answers. From then on Info says it.
func (s *Store) Detect(ctx context.Context) error {
	_, err := call(ctx, s, "detect", func(context.Context, store.Store) (struct{}, error) { return struct{}{}, nil })
	return err
}

// Interest is for a stock server.
func (s *Store) Interest(names func() []string) { s.stock.Interest(names) }

// Close ends the watches and the connections and refuses everything after.
func (s *Store) Close() error {
	s.close()
	s.link.Close()
	return nil
}

// with finds out what answers, if nothing did yet, and gives a context that ends with the store too.
func (s *Store) with(ctx context.Context, op string) (store.Store, context.Context, func(), error) {
	if s.ends.Err() != nil {
		return nil, nil, nil, store.Closed(op, s.link.URL())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ends, func() { cancel(errClosed) })
	release := func() { stop(); cancel(nil) }
	backend, err := s.backend(ctx, op)
	if err != nil {
		release()
		return nil, nil, nil, s.closed(op, err)
	}
	return backend, ctx, release, nil
}

var errClosed = errors.New("the store was closed")

// closed says of a call that Close ended that this was so; what may have landed may have.
func (s *Store) closed(op string, err error) error {
	if err == nil || s.ends.Err() == nil {
		return err
	}
	if store.IsUnknown(err) {
		return store.Unknown(store.Closed(op, s.link.URL()))
	}
	return store.Closed(op, s.link.URL())
}

// call carries one operation to whatever answers there.
func call[T any](ctx context.Context, s *Store, op string, do func(context.Context, store.Store) (T, error)) (T, error) {
	backend, ctx, release, err := s.with(ctx, op)
	if err != nil {
		var none T
		return none, err
	}
	defer release()
	answer, err := do(ctx, backend)
	return answer, s.closed(op, err)
}

// Acquire takes a name that nobody owns, or takes it over.
func (s *Store) Acquire(ctx context.Context, r store.AcquireRequest) (store.Ownership, error) {
	if err := store.CheckAcquire("acquire", r); err != nil {
		return store.Ownership{}, err
	}
	return call(ctx, s, "acquire", func(ctx context.Context, b store.Store) (store.Ownership, error) { return b.Acquire(ctx, r) })
}

// Publish replaces the head.
func (s *Store) Publish(ctx context.Context, o store.Ownership, r store.PublishRequest) (store.PublishResult, error) {
	if err := store.CheckPublish("publish", s.link.URL(), o, r); err != nil {
		return store.PublishResult{}, err
	}
	return call(ctx, s, "publish", func(ctx context.Context, b store.Store) (store.PublishResult, error) { return b.Publish(ctx, o, r) })
}

// Renew extends the lease and reads who owns the name.
func (s *Store) Renew(ctx context.Context, o store.Ownership) (store.Record, error) {
	return call(ctx, s, "renew", func(ctx context.Context, b store.Store) (store.Record, error) { return b.Renew(ctx, o) })
}

// Release gives the name back.
func (s *Store) Release(ctx context.Context, o store.Ownership) error {
	_, err := call(ctx, s, "release", func(ctx context.Context, b store.Store) (struct{}, error) { return struct{}{}, b.Release(ctx, o) })
	return err
}

// Get reads a name.
func (s *Store) Get(ctx context.Context, name string) (store.Record, error) {
	if err := store.CheckName("get", name); err != nil {
		return store.Record{}, err
	}
	return call(ctx, s, "get", func(ctx context.Context, b store.Store) (store.Record, error) { return b.Get(ctx, name) })
}

// Watch lists, then tells every change.
func (s *Store) Watch(ctx context.Context, f func(store.Event)) error {
	_, err := call(ctx, s, "watch", func(ctx context.Context, b store.Store) (struct{}, error) { return struct{}{}, b.Watch(ctx, f) })
	return err
}

// Remake replaces the store ID.
func (s *Store) Remake(ctx context.Context, seen string) (string, error) {
	return call(ctx, s, "remake", func(ctx context.Context, b store.Store) (string, error) { return b.Remake(ctx, seen) })
}
