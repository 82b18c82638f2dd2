// Package stockhttp keeps heads in a stock Mooncake metadata server, which knows no more than GET, PUT and DELETE of one
// key: no epochs, no compare-and-set, no leases, no push, no list of names.
//
// What can be kept is kept. A name has an owner, by the key that was written last: a claim of a name that is owned is
// refused, a takeover replaces whatever lies there, and an owner that was replaced finds out at its next publish or
// renewal, by reading, and publishes no more. A write counts when it was read back. Names are read at the poll interval.
//
// What cannot be kept stands in Info: two at the same moment may both write, and the last writer's head stays, so S6 does
// not hold, nor S5 from one owner to the next. What a dead owner published stays until somebody takes the name over.
//
// Heads lie under our own keys beside the stock ones. Concurrency: as the Store interface says.
package stockhttp

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/store/httplink"
	"mooncake_te/gocore/types"
)

// Options of a store.
type Options struct {
	Link *httplink.Link // the caller's, to close
	Keys store.Keys
	Poll time.Duration // between two rounds of a watch; default a second
	// Patience is how long a round of a watch may wait for one answer; default 10 s.
	Patience time.Duration
}

// Store is a client of one stock server.
type Store struct {
	link *httplink.Link
	keys store.Keys
	poll time.Duration
	wait time.Duration

	mu    sync.Mutex
	names func() []string
	stock map[string][]string // complete stock keys that this store published, by name
}

var (
	_ store.Store      = (*Store)(nil)
	_ store.Interested = (*Store)(nil)
)

// New makes a store; it does not connect.
func New(o Options) *Store {
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	return &Store{link: o.Link, keys: o.Keys, poll: o.Poll, wait: o.Patience, stock: map[string][]string{}}
}

// Info says what is not kept.
func (s *Store) Info() store.Info {
	const why = "a stock metadata server offers only GET, PUT and DELETE: "
	return store.Info{
		Kind: "stock-http", URL: s.link.URL(), Keys: s.keys, Poll: s.poll.Seconds(),
		Lacks: []store.Lack{
			{Invariant: "S5", Reason: why + "without epochs the heads of two owners of a name have no order (within one owner they do)"},
			{Invariant: "S6", Reason: why + "without compare-and-set and leases two owners may both write, and the last writer's head stays"},
		},
	}
}

// Interest sets which names Watch reads.
func (s *Store) Interest(names func() []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = names
}

// Close has nothing to end: the link is the caller's.
func (s *Store) Close() error { return nil }

// Remake has nothing to replace: there is no store ID.
func (s *Store) Remake(context.Context, string) (string, error) { return "", nil }

// Probe reports whether what answers is a stock metadata server: all of them say the same of a key that is missing.
func Probe(ctx context.Context, op string, link *httplink.Link) (bool, error) {
	a, err := link.Do(ctx, httplink.Request{Op: op, Method: http.MethodGet, Target: target("mooncake_te/probe"), Limit: httpapi.MaxSmall})
	if err != nil {
		return false, err
	}
	return a.Status == http.StatusNotFound && strings.Contains(string(a.Body), "metadata not found"), nil
}

func target(key string) string { return "?key=" + url.QueryEscape(key) }

// ownerKey and headKey are ours. The server cuts white space off keys, so names are escaped in them.
func (s *Store) ownerKey(name string) string { return s.keys.Owner(url.PathEscape(name)) }
func (s *Store) headKey(name string) string  { return s.keys.Head(url.PathEscape(name)) }

// trimmed reports whether the server would take a stock key for another one.
func trimmed(key string) bool { return strings.TrimSpace(key) != key }

// get reads one key; nil is none.
func (s *Store) get(ctx context.Context, op, key string, limit int64) ([]byte, error) {
	a, err := s.link.Do(ctx, httplink.Request{Op: op, Method: http.MethodGet, Target: target(key), Limit: limit})
	switch {
	case err != nil:
		return nil, err
	case a.Status == http.StatusNotFound && strings.Contains(string(a.Body), "metadata not found"):
		return nil, nil
	case a.Status != http.StatusOK:
		return nil, s.unexpected(op, a, false)
	}
	if a.Body == nil {
		a.Body = []byte{}
	}
	return a.Body, nil
}

func (s *Store) delete(ctx context.Context, op, key string) error {
	a, err := s.link.Do(ctx, httplink.Request{Op: op, Method: http.MethodDelete, Target: target(key), Limit: httpapi.MaxSmall, Write: true})
	if err == nil && a.Status != http.StatusOK && a.Status != http.StatusNotFound {
		err = s.unexpected(op, a, true)
	}
	return err
}

func (s *Store) unexpected(op string, a *httplink.Answer, write bool) error {
	if a.Status >= 500 {
		err := error(store.Unavailable(op, s.link.URL(), errors.New(a.Excerpt())))
		if write {
			err = store.Unknown(err)
		}
		return err
	}
	return store.Refused(op, s.link.URL(), a.Excerpt(), nil)
}

// revision stands in for the one that a stock server does not have: equal for equal heads, without an order.
func revision(head []byte) uint64 {
	if head == nil {
		return 0
	}
	sum := sha256.Sum256(head)
	return binary.BigEndian.Uint64(sum[:]) | 1
}

// owner is the value under the owner's key.
type owner struct {
	Instance string `json:"instance"`
}

// Get reads a name, key by key.
func (s *Store) Get(ctx context.Context, name string) (store.Record, error) {
	return s.record(ctx, "get", name)
}

func (s *Store) record(ctx context.Context, op, name string) (store.Record, error) {
	r := store.Record{Name: name}
	if err := store.CheckName(op, name); err != nil {
		return r, err
	}
	text, err := s.get(ctx, op, s.ownerKey(name), httpapi.MaxSmall)
	if err == nil && text != nil {
		r.Owner.Instance, err = readOwner(text)
		if err != nil {
			return r, store.Invalid(op, s.link.URL(), s.ownerKey(name), err)
		}
	}
	if err == nil && r.Owner.Owned() { // a head without an owner was left behind by a release
		r.Head, err = s.get(ctx, op, s.headKey(name), store.MaxHead)
		r.HeadRevision = revision(r.Head)
	}
	if ram := s.keys.RAM(name); err == nil && !trimmed(ram) {
		r.Stock, err = s.get(ctx, op, ram, httpapi.MaxStock)
	}
	return r, err
}

func readOwner(text []byte) (types.InstanceID, error) {
	var o owner
	if err := httpapi.Decode(text, &o); err != nil {
		return types.InstanceID{}, err
	}
	id, err := types.ParseInstanceID(o.Instance)
	if err == nil && id.IsZero() {
		err = errors.New("the instance ID is zero")
	}
	return id, err
}
