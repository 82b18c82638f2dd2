package engine

import (
	"fmt"
	"testing"

	"mooncake_te/gocore/config"
	"mooncake_te/gocore/types"
)

// BenchmarkTransfer moves blocks between two engines of this process over loopback TCP.
func BenchmarkTransfer(b *testing.B) {
	for _, c := range []struct {
		name   string
		blocks int
		size   int
	}{{"1x64MiB", 1, 64 << 20}, {"1024x4KiB", 1024, 4 << 10}, {"256x64KiB", 256, 64 << 10}, {"1x4KiB", 1, 4 << 10}} {
		for _, op := range []types.Op{types.Read, types.Write} {
			for _, crc := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/%v/crc=%v", c.name, op, crc), func(b *testing.B) {
					benchTransfer(b, op, crc, c.blocks, c.size)
				})
			}
		}
	}
}

func benchTransfer(b *testing.B, op types.Op, crc bool, blocks, size int) {
	cfg := config.Default()
	cfg.CRC = crc
	cfg.LogLevel = "off"
	engines := make([]*Engine, 2)
	var ids [2]types.BufferID
	for i := range engines {
		e, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer e.Destroy()
		engines[i] = e
		n := uint64(blocks * size)
		addr, err := e.Allocate(n)
		if err != nil {
			b.Fatal(err)
		}
		reg, err := e.Register([]Registration{{Address: addr, Length: n, Remote: types.RemoteAll, Perm: types.PermReadWrite, Writable: true}})
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = reg[0]
	}
	task, err := engines[0].Open(engines[1].Info().Addresses[0], patience)
	if err != nil {
		b.Fatal(err)
	}
	<-task.Done()
	s := &Submission{Op: op, Segment: task.result.(*OpenResult).Segment, LocalIDs: []uint64{uint64(ids[0])},
		RemoteIDs: []uint64{uint64(ids[1])}, Lens: []uint64{uint64(size)}}
	for i := range blocks {
		// Scattered, so that nothing merges.
		s.LocalOffs = append(s.LocalOffs, uint64((i*7919)%blocks*size))
		s.RemoteOffs = append(s.RemoteOffs, uint64((i*104729)%blocks*size))
	}
	b.SetBytes(int64(blocks * size))
	b.ReportAllocs()
	for b.Loop() {
		batch, err := engines[0].Submit(s)
		if err != nil {
			b.Fatal(err)
		}
		<-batch.Done()
		if err := batch.Err(); err != nil {
			b.Fatal(err)
		}
		_ = batch.Free()
	}
}
