package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/store"
)

// readOps reads everything about a name; record reads their answers, in this order.
func (s *Store) readOps(name string) []clientv3.Op {
	k := s.options.Keys
	return []clientv3.Op{
		clientv3.OpGet(k.StoreID()), clientv3.OpGet(k.Owner(name)), clientv3.OpGet(k.Head(name)), clientv3.OpGet(k.RAM(name)),
	}
}

// read is one linearizable step: a transaction that only reads.
func (s *Store) read(ctx context.Context, op, name string) (store.Record, error) {
	answer, err := s.txn(ctx, op, false, nil, s.readOps(name), nil)
	if err != nil {
		return store.Record{}, err
	}
	return s.record(op, name, answer)
}

func (s *Store) record(op, name string, answer *clientv3.TxnResponse) (store.Record, error) {
	r := store.Record{Name: name, Revision: uint64(answer.Header.Revision)}
	if kv := first(answer.Responses[0]); kv != nil {
		r.StoreID = string(kv.Value)
	}
	if kv := first(answer.Responses[1]); kv != nil {
		var err error
		if r.Owner, err = decodeOwner(kv.Value, kv.ModRevision); err != nil {
			return store.Record{}, store.Invalid(op, s.url, string(kv.Key), err)
		}
	}
	if kv := first(answer.Responses[2]); kv != nil {
		r.Head, r.HeadRevision = present(kv.Value), uint64(kv.ModRevision)
	}
	if kv := first(answer.Responses[3]); kv != nil {
		r.Stock = present(kv.Value)
	}
	return r, nil
}

// first is the key found by a read of one key, or nil.
func first(r *pb.ResponseOp) *keyValue {
	if kvs := r.GetResponseRange().GetKvs(); len(kvs) > 0 {
		return kvs[0]
	}
	return nil
}

// present tells an empty value from none.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
