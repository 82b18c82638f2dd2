package store

import (
	"fmt"
	"strings"
	"time"

	"mooncake_te/gocore/errcode"
)

const (
	// MinTTL and MaxTTL bound a lease: shorter ones no store can keep, longer ones leave dead owners around.
	MinTTL = time.Second
	MaxTTL = time.Hour
	// MaxHead bounds a head, in bytes: addresses, devices and a digest are far below.
	MaxHead = 64 << 10
	// MaxStock bounds the stock keys of one publish, in bytes of keys and values: etcd refuses requests above 1.5 MB.
	MaxStock = 1_400_000
)

// CheckAcquire refuses what no store may be asked for.
func CheckAcquire(op string, r AcquireRequest) error {
	if err := CheckName(op, r.Name); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		e := errcode.New(errcode.InvalidArgument, op, fmt.Sprintf(format, args...))
		e.Segment = r.Name
		return e
	}
	switch {
	case r.Instance.IsZero():
		return bad("the instance ID is zero")
	case r.TTL < MinTTL || r.TTL > MaxTTL:
		return bad("a lease of %v is outside %v .. %v", r.TTL, MinTTL, MaxTTL)
	case r.Takeover != nil && r.Takeover.Name != r.Name:
		return bad("the record to take over is that of %q", r.Takeover.Name)
	}
	return nil
}

// maxStockKeys keeps a publish far below the keys that etcd takes in one transaction (128).
const maxStockKeys = 64

// CheckPublish refuses what is empty, too large or not of the layout.
func CheckPublish(op, url string, o Ownership, r PublishRequest) error {
	if err := CheckName(op, o.Name); err != nil {
		return err
	}
	fail := func(code errcode.Code, detail, hint string) error {
		e := errcode.New(code, op, detail).WithHint(hint)
		e.Segment = o.Name
		return e
	}
	size, keys := 0, map[string]bool{}
	for _, kv := range r.Stock {
		size += len(kv.Key) + len(kv.Value)
		_, ram := strings.CutPrefix(kv.Key, "ram/")
		_, rpc := strings.CutPrefix(kv.Key, "rpc_meta/")
		if !ram && !rpc || keys[kv.Key] {
			return fail(errcode.InvalidArgument, fmt.Sprintf("the stock key %.80q is not of the stock layout, or given twice", kv.Key), "")
		}
		keys[kv.Key] = true
	}
	switch {
	case len(r.Stock) > maxStockKeys:
		return fail(errcode.InvalidArgument, fmt.Sprintf("%d stock keys, at most %d", len(r.Stock), maxStockKeys), "")
	case len(r.Head) == 0:
		return fail(errcode.InvalidArgument, "the head is empty", "")
	case len(r.Head) > MaxHead:
		return fail(errcode.InvalidArgument, fmt.Sprintf("the head has %d bytes, at most %d", len(r.Head), MaxHead), "advertise fewer addresses")
	case size > MaxStock:
		return fail(errcode.ResourceExhausted, fmt.Sprintf("the stock descriptor has %d bytes, at most %d fit into %s", size, MaxStock, url),
			"use fewer, larger buffers")
	}
	return nil
}

// SameOwner reports whether owner, head and store ID are still those that were seen: what a takeover compares.
func SameOwner(seen, now *Record) bool {
	return seen.StoreID == now.StoreID && seen.Owner == now.Owner && seen.HeadRevision == now.HeadRevision
}
