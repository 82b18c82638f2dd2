package etcd

import (
	"encoding/json"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"mooncake_te/gocore/store"
	"mooncake_te/gocore/types"
)

// ownerValue is what lies under an owner key. It is compared byte by byte, so it is written in exactly one way.
type ownerValue struct {
	Instance string `json:"instance"`
	StoreID  string `json:"store_id"`
	Lease    string `json:"lease"` // makes two ownerships of one instance differ
}

func encodeOwner(o store.Ownership) string {
	// Strings always encode.
	b, _ := json.Marshal(ownerValue{Instance: o.Instance.String(), StoreID: o.StoreID, Lease: o.Lease})
	return string(b)
}

// decodeOwner reads one; later versions may add fields.
func decodeOwner(value []byte, epoch int64) (store.Owner, error) {
	var v ownerValue
	if err := json.Unmarshal(value, &v); err != nil {
		return store.Owner{}, err
	}
	instance, err := types.ParseInstanceID(v.Instance)
	if err != nil {
		return store.Owner{}, err
	}
	if instance.IsZero() {
		return store.Owner{}, fmt.Errorf("the instance ID is zero")
	}
	return store.Owner{Instance: instance, StoreID: v.StoreID, Epoch: uint64(epoch)}, nil
}

func leaseText(id clientv3.LeaseID) string { return strconv.FormatInt(int64(id), 16) }

func parseLease(s string) (clientv3.LeaseID, error) {
	id, err := strconv.ParseInt(s, 16, 64)
	return clientv3.LeaseID(id), err
}
