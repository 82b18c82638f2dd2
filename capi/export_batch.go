package capi

/*
#include "te.h"
*/
import "C"

import (
	"fmt"
	"time"
	"unsafe"

	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

//export teGoBatchSubmit
func teGoBatchSubmit(h C.te_engine, r *C.te_batch_request, out *C.te_batch, status *C.uint64_t) (rc C.int) {
	const op = "submit"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	s, err := submissionIn(op, r)
	if err != nil {
		return finish(err)
	}
	b, err := e.Submit(&s)
	if err != nil {
		return finish(err)
	}
	handle, err := batches.insert(b.Split())
	if err != nil {
		_ = b.Cancel() // nobody can wait for it; its status words go with the engine
		return finish(err)
	}
	*out = C.te_batch(handle)
	*status = C.uint64_t(b.StatusAddr())
	return 0
}

// submissionIn reads the request's small fields; its arrays are views of the caller's memory for the time of the call.
func submissionIn(op string, r *C.te_batch_request) (engine.Submission, error) {
	refuse := func(field string, value int64, allowed string) (engine.Submission, error) {
		return engine.Submission{}, errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("%s = %d", field, value)).
			WithHint(allowed)
	}
	if r.op != C.TE_READ && r.op != C.TE_WRITE {
		return refuse("op", int64(r.op), "op is TE_READ or TE_WRITE")
	}
	if r.class_ > C.TE_CLASS_BULK {
		return refuse("class_", int64(r.class_), "class_ is TE_CLASS_LATENCY or TE_CLASS_BULK")
	}
	var crc int8
	switch r.flags {
	case 0:
	case C.TE_BATCH_CRC_OFF:
		crc = -1
	case C.TE_BATCH_CRC_ON:
		crc = 1
	default:
		return refuse("flags", int64(r.flags), "flags is 0, TE_BATCH_CRC_OFF or TE_BATCH_CRC_ON")
	}
	if r.deadline_ms < 0 {
		return refuse("deadline_ms", int64(r.deadline_ms), "deadline_ms counts from now; 0 is none")
	}
	if r.stall_ms < 0 {
		return refuse("stall_ms", int64(r.stall_ms), "stall_ms is above 0, or 0 for the engine's default")
	}
	expected, err := instanceIn(op, "expected_instance", r.expected_instance)
	if err != nil {
		return engine.Submission{}, err
	}
	n := int(r.n)
	return engine.Submission{
		Op: types.Op(r.op), Class: types.Class(r.class_), CRC: crc,
		Segment: types.SegmentID(r.segment), Expected: expected,
		LocalIDs: words(r.local_ids, int(r.local_id_count)), LocalOffs: words(r.local_offsets, n),
		RemoteIDs: words(r.remote_ids, int(r.remote_id_count)), RemoteOffs: words(r.remote_offsets, n),
		Lens:  words(r.lengths, int(r.length_count)),
		Trace: uint32(r.trace), Deadline: millis(int64(r.deadline_ms)), Stall: millis(int64(r.stall_ms)),
	}, nil
}

//export teGoBatchWait
func teGoBatchWait(h C.te_engine, batch C.te_batch, timeoutMS C.int32_t) (rc C.int) {
	const op = "wait for batch"
	defer guard(op, &rc)
	b, e, err := enterBatch(op, uint64(h), uint64(batch))
	if err != nil {
		return finish(err)
	}
	e.leave() // before it waits: destroy need not wait for a waiter
	if !b.Wait(time.Duration(timeoutMS) * time.Millisecond) {
		return C.TE_E_WAIT_TIMEOUT // te.c says the rest
	}
	return 0
}

//export teGoBatchArm
func teGoBatchArm(h C.te_engine, batch C.te_batch) (rc C.int) {
	const op = "arm batch"
	defer guard(op, &rc)
	b, e, err := enterBatch(op, uint64(h), uint64(batch))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	return finish(b.Arm())
}

//export teGoBatchCancel
func teGoBatchCancel(h C.te_engine, batch C.te_batch) (rc C.int) {
	const op = "cancel batch"
	defer guard(op, &rc)
	b, e, err := enterBatch(op, uint64(h), uint64(batch))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	return finish(b.Cancel())
}

//export teGoBatchOutcomes
func teGoBatchOutcomes(h C.te_engine, batch C.te_batch, first, n C.uint64_t, outcomes *C.uint8_t,
	causes *C.int32_t,
) (rc C.int) {
	const op = "read outcomes"
	defer guard(op, &rc)
	b, e, err := enterBatch(op, uint64(h), uint64(batch))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	var o []uint8
	if outcomes != nil {
		o = unsafe.Slice((*uint8)(unsafe.Pointer(outcomes)), int(n))
	}
	var c []int32
	if causes != nil {
		c = unsafe.Slice((*int32)(unsafe.Pointer(causes)), int(n))
	}
	return finish(b.Outcomes(uint64(first), uint64(n), o, c))
}

//export teGoBatchExplain
func teGoBatchExplain(h C.te_engine, batch C.te_batch, buf *C.char, capacity C.size_t, needed *C.size_t) (rc C.int) {
	const op = "explain batch"
	defer guard(op, &rc)
	b, e, err := enterBatch(op, uint64(h), uint64(batch))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	text, err := b.ExplainJSON()
	if err != nil {
		return finish(err)
	}
	return finish(textOut(op, text, buf, capacity, needed))
}

//export teGoBatchFree
func teGoBatchFree(h C.te_engine, batch C.te_batch) (rc C.int) {
	const op = "free batch"
	defer guard(op, &rc)
	b, e, err := enterBatch(op, uint64(h), uint64(batch))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	if !b.Wait(0) {
		return finish(errcode.New(errcode.InvalidArgument, op, "the batch is not final").
			WithHint("cancel it, wait until it is final, then free it"))
	}
	// Final is for ever, so from here the free cannot be refused; of several callers one gets the batch.
	if _, _, v := batches.remove(uint64(batch)); v != live {
		return finish(lookupError(v, op, "batch"))
	}
	return finish(b.Free())
}
