package tcp

import (
	"sync"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/gate"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// granted is the region of a request at its target: every access is asked for.
type granted struct {
	memory  transport.Memory
	peer    types.InstanceID
	op      types.Op
	entries []Entry
	small   []Entry // the connection's own, while big is in use
	big     *table
	run     run
}

// run is the last access of the present gather: who goes on in the same granted range needs none of their own. With
// blocks of 4 KiB the gate's word, which all connections to one buffer share, would else be the busiest of all.
type run struct {
	buffer types.BufferID
	around types.Range
	base   uint64 // address of offset 0
}

func (g *granted) renew()              { g.run = run{} }
func (g *granted) length(i int) uint64 { return g.entries[i].Len }
func (g *granted) enter(i int, off, n uint64) (uint64, *gate.Gate, errcode.Code) {
	e := &g.entries[i]
	off += e.Off
	if e.Buffer == g.run.buffer && g.run.around.Contains(off, n) {
		return g.run.base + off, nil, errcode.OK
	}
	a, code := g.memory.Enter(g.peer, e.Buffer, g.op, off, n)
	if code == errcode.OK && a.Around.Len > 0 {
		g.run = run{e.Buffer, a.Around, a.Addr - off}
	}
	return a.Addr, a.Gate, code
}

// table is memory for the entries of a large request.
type table struct{ entries []Entry }

// tables and frames are kept apart from connections: an idle one needs none.
var tables = sync.Pool{New: func() any { return new(table) }}

// reserve makes room for count entries, as far as a peer is trusted before it has sent them.
func (g *granted) reserve(count int) {
	g.entries = g.entries[:0]
	if count > cap(g.entries) {
		g.big = tables.Get().(*table)
		g.small, g.entries = g.entries, g.big.entries[:0]
	}
}

// trim lets go of a large table between requests.
func (g *granted) trim() {
	g.entries = g.entries[:0]
	if g.big != nil {
		g.big.entries = g.entries
		tables.Put(g.big)
		g.entries, g.small, g.big = g.small, nil, nil
	}
}

// local is the region of a post at its initiator: the engine holds the memory until PostDone.
type local struct{ post *transport.Post }

func (l *local) renew()              {}
func (l *local) length(i int) uint64 { return l.post.Slices[i].Len }
func (l *local) enter(i int, off, _ uint64) (uint64, *gate.Gate, errcode.Code) {
	return l.post.Slices[i].Local + off, nil, errcode.OK
}
