package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// storeID reads the store's ID and makes one where there is none; of several who do, one wins.
func (s *Store) storeID(ctx context.Context, op string) (string, error) {
	key := s.options.Keys.StoreID()
	answer, err := s.txn(ctx, op, false, nil, []clientv3.Op{clientv3.OpGet(key)}, nil)
	if err != nil {
		return "", err
	}
	if kv := first(answer.Responses[0]); kv != nil {
		return s.checkStoreID(op, kv)
	}
	return s.putStoreID(ctx, op, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
}

// Remake replaces the ID if it still is the one seen.
func (s *Store) Remake(ctx context.Context, seen string) (string, error) {
	const op = "remake store ID"
	id, err := s.storeID(ctx, op)
	if err != nil || id != seen {
		return id, err
	}
	return s.putStoreID(ctx, op, clientv3.Compare(clientv3.Value(s.options.Keys.StoreID()), "=", seen))
}

// putStoreID writes a fresh ID if the comparison holds; else it returns the one that lies there.
func (s *Store) putStoreID(ctx context.Context, op string, cmp clientv3.Cmp) (string, error) {
	key, fresh := s.options.Keys.StoreID(), types.NewInstanceID().String()
	answer, err := s.txn(ctx, op, true, []clientv3.Cmp{cmp},
		[]clientv3.Op{clientv3.OpPut(key, fresh)}, []clientv3.Op{clientv3.OpGet(key)})
	switch {
	case err != nil:
		return "", err
	case answer.Succeeded:
		s.options.Logger.Info("metadata store has a new ID", "store", s.url, "store_id", fresh)
		return fresh, nil
	}
	if kv := first(answer.Responses[0]); kv != nil {
		return s.checkStoreID(op, kv)
	}
	return "", store.Unavailable(op, s.url, errChanging)
}

func (s *Store) checkStoreID(op string, kv *keyValue) (string, error) {
	if _, err := types.ParseInstanceID(string(kv.Value)); err != nil {
		return "", store.Invalid(op, s.url, string(kv.Key), err)
	}
	return string(kv.Value), nil
}
