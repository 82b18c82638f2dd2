package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/store"
)

// Publish replaces the head, and the stock keys with it.
func (s *Store) Publish(ctx context.Context, o store.Ownership, r store.PublishRequest) (store.PublishResult, error) {
	const op = "publish"
	if err := store.CheckPublish(op, s.url, o, r); err != nil {
		return store.PublishResult{}, err
	}
	lease, err := parseOwnership(op, o)
	if err != nil {
		return store.PublishResult{}, err
	}
	k := s.options.Keys
	cmps := append(s.mine(o),
		clientv3.Compare(clientv3.Value(k.StoreID()), "=", o.StoreID),
		clientv3.Compare(clientv3.ModRevision(k.Head(o.Name)), "=", int64(r.Last)))
	then := []clientv3.Op{clientv3.OpPut(k.Head(o.Name), string(r.Head), clientv3.WithLease(lease))}
	for _, kv := range r.Stock {
		then = append(then, clientv3.OpPut(k.Stock()+kv.Key, string(kv.Value), clientv3.WithLease(lease)))
	}
	gone := s.stock.begin(o.Lease, r.Stock)
	for _, key := range gone {
		then = append(then, clientv3.OpDelete(k.Stock()+key))
	}
	answer, err := s.txn(ctx, op, true, cmps, then, s.readOps(o.Name))
	if err != nil {
		return store.PublishResult{}, err
	}
	if answer.Succeeded {
		s.stock.deleted(o.Lease, gone)
		return store.PublishResult{Revision: uint64(answer.Header.Revision)}, nil
	}
	lost, err := s.record(op, o.Name, answer)
	if err != nil {
		return store.PublishResult{}, err
	}
	return store.PublishResult{Lost: &lost}, nil
}

// mine holds while the owner key is o's: the very value, written at its epoch.
func (s *Store) mine(o store.Ownership) []clientv3.Cmp {
	key := s.options.Keys.Owner(o.Name)
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.Value(key), "=", encodeOwner(o)),
		clientv3.Compare(clientv3.ModRevision(key), "=", int64(o.Epoch)),
	}
}
