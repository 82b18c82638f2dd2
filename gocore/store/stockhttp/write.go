package stockhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/store/httpapi"
	"mooncake_te/gocore/store/httplink"
)

// put writes one key and reads it back: what lies there is what counts. The server refuses to replace some keys (those
// with rpc_meta in them); the value that it protects is deleted then, if it is another.
func (s *Store) put(ctx context.Context, op, key string, value []byte) error {
	for deleted := false; ; deleted = true {
		a, err := s.link.Do(ctx, httplink.Request{
			Op: op, Method: http.MethodPut, Target: target(key), Body: value, Type: "application/json",
			Limit: httpapi.MaxSmall, Write: true,
		})
		if err != nil {
			return err
		}
		duplicate := a.Status == http.StatusBadRequest && strings.Contains(string(a.Body), "Duplicate")
		switch {
		case a.Status == http.StatusRequestEntityTooLarge:
			return store.Refused(op, s.link.URL(), fmt.Sprintf("%d bytes under %q are too many for it", len(value), key), nil).
				WithHint("use fewer, larger buffers, or mooncake-te metadata-server, which takes more")
		case a.Status != http.StatusOK && !duplicate:
			return s.unexpected(op, a, true)
		}
		lies, err := s.get(ctx, op, key, int64(len(value))+httpapi.MaxSmall)
		switch {
		case err != nil && !duplicate:
			return store.Unknown(err) // it was written, and may have been replaced
		case err != nil:
			return err
		case bytes.Equal(lies, value):
			return nil
		case deleted || !duplicate:
			return &lostError{key}
		}
		if err := s.delete(ctx, op, key); err != nil {
			return err
		}
	}
}

// lostError: somebody else's value lies there now.
type lostError struct{ key string }

func (e *lostError) Error() string {
	return fmt.Sprintf("somebody else writes the key %q at the same time", e.key)
}

// Acquire makes the instance the owner if nobody is, or takes over whatever lies there.
func (s *Store) Acquire(ctx context.Context, r store.AcquireRequest) (store.Ownership, error) {
	const op = "acquire"
	now, err := s.record(ctx, op, r.Name)
	if err != nil {
		return store.Ownership{}, err
	}
	if now.Owner.Owned() && r.Takeover == nil {
		return store.Ownership{}, &store.OwnedError{Record: now}
	}
	// The head goes first: it must never lie beside an owner that did not publish it.
	if err := s.delete(ctx, op, s.headKey(r.Name)); err != nil {
		return store.Ownership{}, err
	}
	err = s.put(ctx, op, s.ownerKey(r.Name), httpapi.Marshal(owner{Instance: r.Instance.String()}))
	if errors.As(err, new(*lostError)) {
		if now, err = s.record(ctx, op, r.Name); err == nil && now.Owner.Owned() {
			return store.Ownership{}, &store.OwnedError{Record: now}
		}
		return store.Ownership{}, store.Unknown(store.Unavailable(op, s.link.URL(), errors.New("others claim the name at the same time")))
	}
	if err != nil {
		return store.Ownership{}, err
	}
	return store.Ownership{Name: r.Name, Instance: r.Instance}, nil
}

// Publish reads who owns the name, writes, and reads back. Between the steps others may write: that is what Info says of
// S6. r.Last is not compared: nothing could be promised by it.
func (s *Store) Publish(ctx context.Context, o store.Ownership, r store.PublishRequest) (store.PublishResult, error) {
	const op = "publish"
	now, err := s.record(ctx, op, o.Name)
	switch {
	case err != nil:
		return store.PublishResult{}, err
	case !o.Holds(&now):
		return store.PublishResult{Lost: &now}, nil
	}
	// The stock keys go first: they are what the server may refuse, and the head says that all of it is there.
	before, err := s.putStock(ctx, op, o.Name, r.Stock)
	if err != nil {
		return store.PublishResult{}, err
	}
	err = s.put(ctx, op, s.headKey(o.Name), r.Head)
	if errors.As(err, new(*lostError)) {
		if now, err = s.record(ctx, op, o.Name); err == nil {
			return store.PublishResult{Lost: &now}, nil
		}
		err = store.Unknown(err)
	}
	if err == nil {
		err = s.dropStock(ctx, op, o.Name, before, r.Stock)
	}
	if err != nil {
		return store.PublishResult{}, err
	}
	return store.PublishResult{Revision: revision(r.Head)}, nil
}

// putStock writes the stock keys of a name and returns those that this store published before.
func (s *Store) putStock(ctx context.Context, op, name string, stock []store.StockKey) (before []string, err error) {
	keys := s.complete(stock)
	for _, key := range keys {
		if trimmed(key) {
			return nil, store.Refused(op, s.link.URL(), fmt.Sprintf("it would cut the white space off the key %q", key), nil).
				WithHint("choose another name, or publish without interop")
		}
	}
	s.mu.Lock()
	before = s.stock[name]
	if len(before)+len(keys) > 0 { // also those that a publish that is cut off leaves behind
		s.stock[name] = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(keys), before...))))
	}
	s.mu.Unlock()
	for i, k := range stock {
		err := s.put(ctx, op, keys[i], k.Value)
		if errors.As(err, new(*lostError)) {
			err = store.Refused(op, s.link.URL(), err.Error(), nil).WithHint("does another engine use this name or address?")
		}
		if err != nil {
			return nil, err
		}
	}
	return before, nil
}

// dropStock deletes those of before that are not among the stock keys any more. The head lies there already, so an error
// leaves open whether the publish counts.
func (s *Store) dropStock(ctx context.Context, op, name string, before []string, stock []store.StockKey) error {
	keys := s.complete(stock)
	for _, key := range before {
		if !slices.Contains(keys, key) {
			if err := s.delete(ctx, op, key); err != nil {
				return store.Unknown(err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stock[name] = keys; len(keys) == 0 {
		delete(s.stock, name)
	}
	return nil
}

func (s *Store) complete(stock []store.StockKey) []string {
	var keys []string
	for _, k := range stock {
		keys = append(keys, s.keys.Stock()+k.Key)
	}
	return keys
}

// Renew extends nothing; the record says who owns the name.
func (s *Store) Renew(ctx context.Context, o store.Ownership) (store.Record, error) {
	return s.record(ctx, "renew", o.Name)
}

// Release deletes what this store published under the name, if the owner still is the last that asked for it. With the
// owner key the head is gone for readers, so it goes before it.
func (s *Store) Release(ctx context.Context, o store.Ownership) error {
	const op = "release"
	now, err := s.record(ctx, op, o.Name)
	if err != nil {
		return err
	}
	if o.Holds(&now) {
		s.mu.Lock()
		keys := slices.Clone(s.stock[o.Name])
		s.mu.Unlock()
		for _, key := range append(keys, s.ownerKey(o.Name), s.headKey(o.Name)) {
			if err := s.delete(ctx, op, key); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.stock, o.Name)
	return nil
}
