package hostile

/*
#include "te.h"
*/
import "C"

import (
	"encoding/json"
	"unsafe"
)

// call makes one call.
func (c *Caller) call(r *reader) {
	calls := [...]func(*Caller, *reader){
		(*Caller).register, (*Caller).drain, (*Caller).grant, (*Caller).allocate, (*Caller).open, (*Caller).segment,
		(*Caller).notify, (*Caller).submit, (*Caller).submit, (*Caller).batch, (*Caller).task, (*Caller).query,
		(*Caller).library, (*Caller).end,
	}
	calls[int(r.byte())%len(calls)](c, r)
}

// handle is the engine, or now and then something else.
func (c *Caller) handle(r *reader) C.te_engine {
	if x := r.byte(); x > 250 {
		return C.te_engine(r.number(c.batches))
	}
	return c.engine
}

func (c *Caller) started(what string, rc C.int, t C.te_task) {
	if c.check(what, rc) {
		c.tasks = append(c.tasks, uint64(t))
	}
}

func (c *Caller) register(r *reader) {
	var list [3]C.te_registration
	n := r.count()
	for i := range list {
		size := C.uint32_t(unsafe.Sizeof(list[0]))
		if r.byte() > 240 {
			size = C.uint32_t(r.number(nil))
		}
		off := r.number(nil) % arenaLen
		length := r.number(nil)
		if length < 1<<62 { // beyond that it wraps, and must be refused
			length %= arenaLen - off + 1
		}
		list[i] = C.te_registration{
			struct_size: size, remote: C.uint32_t(r.byte() % 4), perm: C.uint32_t(r.byte() % 6),
			writable: C.uint32_t(r.byte() % 3), address: C.uint64_t(c.arena.Addr() + off), length: C.uint64_t(length),
		}
		if x := r.byte(); x > 250 {
			list[i].address = C.uint64_t(1<<63 | uint64(x))
		}
	}
	if n <= arrayLen {
		n %= uint64(len(list) + 1)
	}
	if x := r.byte(); x < 128 {
		n = 1
		list[0] = C.te_registration{
			struct_size: C.uint32_t(unsafe.Sizeof(list[0])), remote: C.uint32_t(x % 3), perm: C.uint32_t(1 + x%3), writable: 1,
			address: C.uint64_t(c.arena.Addr()) + C.uint64_t(x)*4096, length: 16384,
		}
	}
	ids := c.words(r, 0, nil)
	rc := C.te_buffer_register(c.handle(r), &list[0], C.size_t(n), ids)
	if c.check("te_buffer_register", rc) {
		for _, id := range unsafe.Slice(ids, int(n)) {
			c.buffers = append(c.buffers, uint64(id))
		}
	}
}

func (c *Caller) drain(r *reader) {
	var t C.te_task
	n := r.count()
	if x := r.byte(); x < 128 {
		n = 1
	}
	rc := C.te_buffer_drain(c.handle(r), c.words(r, 0, c.buffers), C.size_t(n), C.int64_t(r.number(nil)), &t)
	c.started("te_buffer_drain", rc, t)
}

func (c *Caller) grant(r *reader) {
	var id C.uint64_t
	peer, ok := r.text()
	p := c.fixed(peer)
	if !ok {
		p = nil
	}
	rc := C.te_buffer_grant(c.handle(r), C.uint64_t(r.number(c.buffers)), c.words(r, 0, nil), c.words(r, 1, nil),
		C.size_t(r.count()), C.uint32_t(r.number(nil)), p, &id)
	if c.check("te_buffer_grant", rc) {
		c.buffers = append(c.buffers, uint64(id))
	}
}

func (c *Caller) allocate(r *reader) {
	var address C.uint64_t
	if c.check("te_memory_allocate", C.te_memory_allocate(c.handle(r), C.uint64_t(r.number(nil)), &address)) {
		if address%4096 != 0 {
			c.problems = append(c.problems, "te_memory_allocate: not page aligned")
		}
		c.check("te_memory_free", C.te_memory_free(c.engine, address))
	}
	c.check("te_memory_free", C.te_memory_free(c.engine, C.uint64_t(r.number(nil))))
}

// open reaches our own engine, or nobody: no text that the fuzzer makes may name a host.
func (c *Caller) open(r *reader) {
	var t C.te_task
	name, ok := r.text()
	p := c.fixed("\x01" + name)
	switch {
	case !ok:
		p = nil
	case len(name)%2 == 0:
		p = c.fixed(c.address)
	}
	timeout := C.int64_t(r.number(nil))
	rc := C.te_segment_open(c.handle(r), p, timeout, &t)
	if !c.check("te_segment_open", rc) {
		return
	}
	c.tasks = append(c.tasks, uint64(t))
	if C.te_task_wait(c.engine, t, 1000) != C.TE_OK || C.te_task_result(c.engine, t, c.out, textLimit, nil) != C.TE_OK {
		return
	}
	var result struct {
		Segment uint64 `json:",string"`
	}
	if err := json.Unmarshal([]byte(C.GoString(c.out)), &result); err != nil {
		c.problems = append(c.problems, "te_task_result: "+err.Error())
	}
	c.segments = append(c.segments, result.Segment)
}

func (c *Caller) segment(r *reader) {
	var t C.te_task
	id := C.uint64_t(r.number(c.segments))
	switch r.byte() % 8 {
	case 4:
		name, _ := r.text()
		var found C.uint64_t
		c.check("te_segment_lookup", C.te_segment_lookup(c.handle(r), c.fixed("\x01"+name), &found))
	case 5:
		name, _ := r.text()
		c.started("te_segment_describe", C.te_segment_describe(c.handle(r), c.fixed("\x01"+name), C.int64_t(r.number(nil)), &t), t)
	case 6:
		rc := C.te_engine_claim(c.handle(r), C.int32_t(r.number(nil)), C.int64_t(r.number(nil)), C.int64_t(r.number(nil)), &t)
		c.started("te_engine_claim", rc, t)
	case 7:
		c.started("te_engine_sync", C.te_engine_sync(c.handle(r), C.int64_t(r.number(nil)), &t), t)
	case 0:
		c.started("te_segment_refresh", C.te_segment_refresh(c.handle(r), id, C.int64_t(r.number(nil)), &t), t)
	case 1:
		c.started("te_segment_ping", C.te_segment_ping(c.handle(r), id, C.int64_t(r.number(nil)), &t), t)
	case 2:
		c.check("te_segment_query", C.te_segment_query(c.handle(r), id, c.out, C.size_t(r.number(nil)%(textLimit+1)), nil))
	case 3:
		c.check("te_segment_close", C.te_segment_close(c.handle(r), id))
	}
}

func (c *Caller) notify(r *reader) {
	var t C.te_task
	tag, ok := r.text()
	p := c.fixed(tag)
	if !ok {
		p = nil
	}
	n := r.number(nil)
	if n <= 1<<24 { // beyond that it must be refused unread
		n %= textLimit + 1
	}
	rc := C.te_segment_notify(c.handle(r), C.uint64_t(r.number(c.segments)), unsafe.Pointer(c.out), C.size_t(n), p,
		C.te_batch(r.number(c.batches)), C.int64_t(r.number(nil)), &t)
	c.started("te_segment_notify", rc, t)
}

func (c *Caller) submit(r *reader) {
	q := C.te_batch_request{
		struct_size: C.uint32_t(unsafe.Sizeof(C.te_batch_request{})), op: C.uint32_t(r.byte() % 4),
		class_: C.uint32_t(r.byte() % 4), flags: C.uint32_t(r.byte() % 5), segment: C.uint64_t(r.number(c.segments)),
		n:         C.uint64_t(r.count()),
		local_ids: c.words(r, 0, c.buffers), local_offsets: c.words(r, 1, nil), remote_ids: c.words(r, 2, c.buffers),
		remote_offsets: c.words(r, 3, nil), lengths: c.words(r, 4, nil), trace: C.uint32_t(r.byte()),
		deadline_ms: C.int64_t(r.number(nil)), stall_ms: C.int64_t(r.number(nil)),
	}
	for _, count := range []*C.uint32_t{&q.local_id_count, &q.remote_id_count, &q.length_count} {
		switch x := r.byte(); x % 4 {
		case 0, 1:
			*count = 1
		case 2:
			*count = C.uint32_t(q.n)
		case 3:
			*count = C.uint32_t(r.number(nil))
		}
	}
	if x := r.byte(); x > 245 {
		q.struct_size = C.uint32_t(r.number(nil) % 113) // never more than there is
	}
	if x := r.byte(); x < 128 { // most of it right, so that it gets further
		q.op, q.class_, q.flags = C.uint32_t(1+x%2), C.uint32_t(x%2), C.uint32_t(x%3)
		q.deadline_ms, q.stall_ms = 1000, 0
		q.n = 1 + q.n%4
		q.local_id_count, q.remote_id_count, q.length_count = 1, 1, 1
		if len(c.buffers) > 0 {
			c.sensible(r, &q)
		}
	}
	var b C.te_batch
	var status *C.te_batch_status
	if !c.check("te_batch_submit", C.te_batch_submit(c.handle(r), &q, &b, &status)) {
		return
	}
	c.batches = append(c.batches, uint64(b))
	if status == nil || status.bytes_done > status.bytes_total {
		c.problems = append(c.problems, "te_batch_submit: impossible status words")
	}
}

// sensible fills a request so that it is accepted, if the buffer that it hits on is.
func (c *Caller) sensible(r *reader, q *C.te_batch_request) {
	q.local_ids, q.local_offsets, q.remote_ids = c.arrays[0], c.arrays[1], c.arrays[2]
	q.remote_offsets, q.lengths = c.arrays[3], c.arrays[4]
	for i := range int(q.n) {
		for k, p := range []*C.uint64_t{q.local_ids, q.local_offsets, q.remote_ids, q.remote_offsets, q.lengths} {
			word := &unsafe.Slice(p, arrayLen)[i]
			switch k {
			case 0, 2:
				*word = C.uint64_t(c.buffers[int(r.byte())%len(c.buffers)])
			default:
				*word = C.uint64_t(1 + int(r.byte())*16)
			}
		}
	}
	if len(c.segments) > 0 {
		q.segment = C.uint64_t(c.segments[0])
	}
}

func (c *Caller) batch(r *reader) {
	b := C.te_batch(r.number(c.batches))
	switch r.byte() % 6 {
	case 0:
		c.check("te_batch_wait", C.te_batch_wait(c.handle(r), b, C.int32_t(r.byte()%4)-1))
	case 1:
		c.check("te_batch_arm", C.te_batch_arm(c.handle(r), b))
	case 2:
		c.check("te_batch_cancel", C.te_batch_cancel(c.handle(r), b))
	case 3:
		n := r.count()
		causes := (*C.int32_t)(unsafe.Pointer(c.words(r, 5, nil)))
		c.check("te_batch_outcomes", C.te_batch_outcomes(c.handle(r), b, C.uint64_t(r.number(nil)), C.uint64_t(n),
			(*C.uint8_t)(unsafe.Pointer(c.arrays[0])), causes))
	case 4:
		c.check("te_batch_explain", C.te_batch_explain(c.handle(r), b, c.out, C.size_t(r.number(nil)%(textLimit+1)), nil))
	case 5:
		c.check("te_batch_free", C.te_batch_free(c.handle(r), b))
	}
}

func (c *Caller) task(r *reader) {
	t := C.te_task(r.number(c.tasks))
	switch r.byte() % 4 {
	case 0:
		c.check("te_task_wait", C.te_task_wait(c.handle(r), t, C.int32_t(r.byte()%4)-1))
	case 1:
		c.check("te_task_arm", C.te_task_arm(c.handle(r), t))
	case 2:
		c.check("te_task_result", C.te_task_result(c.handle(r), t, c.out, C.size_t(r.number(nil)%(textLimit+1)), nil))
	case 3:
		c.check("te_task_free", C.te_task_free(c.handle(r), t))
	}
}

func (c *Caller) query(r *reader) {
	what := [...]string{"info", "status", "metrics", "notifications"}
	x := r.byte()
	p := c.fixed(what[int(x)%len(what)])
	if s, ok := r.text(); ok && x > 200 {
		p = c.fixed(s)
	}
	var needed C.size_t
	c.check("te_engine_query", C.te_engine_query(c.handle(r), p, c.out, C.size_t(r.number(nil)%(textLimit+1)), &needed))
	var fd C.int
	c.check("te_engine_event_fd", C.te_engine_event_fd(c.handle(r), &fd))
}

// library has no valid configuration or setting: these would be the fuzzer's, not the library's, doing.
func (c *Caller) library(r *reader) {
	s, _ := r.text()
	var other C.te_engine
	if c.check("te_engine_create", C.te_engine_create(c.fixed("["+s), &other)) {
		c.problems = append(c.problems, "te_engine_create: took "+s)
	}
	c.check("te_runtime_set", C.te_runtime_set(c.fixed("x"+s), C.int64_t(r.number(nil))))
	c.check("te_version", C.te_version(c.out, C.size_t(r.number(nil)%(textLimit+1)), nil))
}

// end closes the engine; what follows must be told so.
func (c *Caller) end(r *reader) {
	if r.byte() < 250 {
		return
	}
	var t C.te_task
	if c.check("te_engine_close", C.te_engine_close(c.engine, C.int64_t(r.number(nil)), &t)) {
		c.closed = true
	}
}
