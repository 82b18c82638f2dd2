package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestErrorsCarryTheirCodes(t *testing.T) {
	below := errors.New("below")
	for want, err := range map[errcode.Code]error{
		errcode.MetadataUnavailable: Unknown(Unavailable("publish", "etcd://h", below)),
		errcode.MetadataRefused:     Refused("publish", "etcd://h", "its quota is used up", below),
		errcode.MetadataInvalid:     Invalid("get", "etcd://h", "mooncake_te/owner/x", below),
	} {
		require.Equal(t, want, errcode.Of(err))
		require.ErrorIs(t, err, below)
		require.ErrorContains(t, err, "etcd://h")
	}
	require.Equal(t, errcode.Closed, errcode.Of(Closed("get", "etcd://h")))
}

func TestOwnedErrorSaysWhoOwns(t *testing.T) {
	r := Record{Name: "x", Owner: Owner{Instance: types.NewInstanceID(), Epoch: 7}}
	err := fmt.Errorf("outer: %w", &OwnedError{r})
	require.Equal(t, errcode.SegmentOwned, errcode.Of(err))
	require.ErrorContains(t, err, r.Owner.Instance.Short())
	require.ErrorContains(t, err, "epoch 7")
}

func TestUnknownIsFoundBelow(t *testing.T) {
	require.True(t, IsUnknown(fmt.Errorf("outer: %w", Unknown(errors.New("cut")))))
	require.False(t, IsUnknown(errors.New("cut")))
	require.False(t, IsUnknown(nil))
}

func TestOwnershipHolds(t *testing.T) {
	me := types.NewInstanceID()
	o := Ownership{Name: "x", Instance: me, StoreID: "s", Epoch: 7}
	r := Record{StoreID: "s", Owner: Owner{Instance: me, StoreID: "s", Epoch: 7}}
	require.True(t, o.Holds(&r))
	for name, spoil := range map[string]func(*Record){
		"another owner":           func(r *Record) { r.Owner.Instance = types.NewInstanceID() },
		"nobody":                  func(r *Record) { r.Owner = Owner{} },
		"a later epoch":           func(r *Record) { r.Owner.Epoch = 8 },
		"another store ID":        func(r *Record) { r.StoreID = "t" },
		"acquired under another":  func(r *Record) { r.Owner.StoreID = "t" },
		"a store without its key": func(r *Record) { r.StoreID = "" },
	} {
		spoiled := r
		spoil(&spoiled)
		require.False(t, o.Holds(&spoiled), name)
	}
}
