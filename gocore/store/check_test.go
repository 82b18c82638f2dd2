package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

func TestCheckPublish(t *testing.T) {
	o := Ownership{Name: "x"}
	many := make([]StockKey, maxStockKeys+1)
	for i := range many {
		many[i].Key = fmt.Sprintf("ram/%d", i)
	}
	head := []byte("head")
	require.NoError(t, CheckPublish("publish", "u", o, PublishRequest{Head: head, Stock: many[1:]}))
	for _, c := range []struct {
		r    PublishRequest
		code errcode.Code
		says string
	}{
		{PublishRequest{}, errcode.InvalidArgument, "empty"},
		{PublishRequest{Head: make([]byte, MaxHead+1)}, errcode.InvalidArgument, "65537 bytes"},
		{PublishRequest{Head: head, Stock: many}, errcode.InvalidArgument, "65 stock keys"},
		{PublishRequest{Head: head, Stock: []StockKey{{Key: "head/x"}}}, errcode.InvalidArgument, "stock layout"},
		{PublishRequest{Head: head, Stock: []StockKey{{Key: ""}}}, errcode.InvalidArgument, "stock layout"},
		{PublishRequest{Head: head, Stock: []StockKey{many[0], many[0]}}, errcode.InvalidArgument, "twice"},
		{PublishRequest{Head: head, Stock: []StockKey{{Key: "ram/x", Value: make([]byte, MaxStock)}}}, errcode.ResourceExhausted, "fewer, larger buffers"},
	} {
		err := CheckPublish("publish", "u", o, c.r)
		require.Equal(t, c.code, errcode.Of(err), "%v", err)
		require.ErrorContains(t, err, c.says)
	}
}

func TestSameOwner(t *testing.T) {
	seen := Record{StoreID: "s", Owner: Owner{Instance: types.NewInstanceID(), StoreID: "s", Epoch: 3}, HeadRevision: 4, Revision: 9}
	now := seen
	now.Revision = 12 // other names changed
	require.True(t, SameOwner(&seen, &now))
	for name, spoil := range map[string]func(*Record){
		"store ID": func(r *Record) { r.StoreID = "t" },
		"epoch":    func(r *Record) { r.Owner.Epoch++ },
		"instance": func(r *Record) { r.Owner.Instance = types.NewInstanceID() },
		"head":     func(r *Record) { r.HeadRevision++ },
	} {
		changed := now
		spoil(&changed)
		require.False(t, SameOwner(&seen, &changed), name)
	}
}
