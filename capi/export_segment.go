package capi

/*
#include "te.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

//export teGoSegmentOpen
func teGoSegmentOpen(h C.te_engine, name *C.char, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "open segment"
	defer guard(op, &rc)
	return byName(op, h, name, timeoutMS, out, (*engine.Engine).Open)
}

//export teGoSegmentOpenAnew
func teGoSegmentOpenAnew(h C.te_engine, name *C.char, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "open segment"
	defer guard(op, &rc)
	return byName(op, h, name, timeoutMS, out, (*engine.Engine).OpenAnew)
}

//export teGoSegmentDescribe
func teGoSegmentDescribe(h C.te_engine, name *C.char, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "describe segment"
	defer guard(op, &rc)
	return byName(op, h, name, timeoutMS, out, (*engine.Engine).DescribeName)
}

// byName starts a task about a name.
func byName(op string, h C.te_engine, name *C.char, timeoutMS C.int64_t, out *C.te_task,
	start func(*engine.Engine, string, time.Duration) (*engine.Task, error),
) C.int {
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	s, err := nameIn(op, name)
	if err != nil {
		return finish(err)
	}
	t, err := start(e.Engine, s, max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}

func nameIn(op string, name *C.char) (string, error) {
	s, err := textIn(op, "name", name, maxName)
	if err == nil && s == "" {
		err = errcode.New(errcode.InvalidArgument, op, "name is empty").
			WithHint(`pass the segment's name, or its "host:port" peer to peer`)
	}
	return s, err
}

//export teGoSegmentLookup
func teGoSegmentLookup(h C.te_engine, name *C.char, segment *C.uint64_t) (rc C.int) {
	const op = "look segment up"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	s, err := nameIn(op, name)
	if err != nil {
		return finish(err)
	}
	id, known := e.OpenKnown(s)
	if !known {
		return finish(errcode.New(errcode.SegmentNotFound, op, "it is not open here, or not known to be fresh").WithHint("open it"))
	}
	*segment = C.uint64_t(id)
	return 0
}

//export teGoSegmentRefresh
func teGoSegmentRefresh(h C.te_engine, segment C.uint64_t, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "refresh segment"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	t, err := e.Refresh(types.SegmentID(segment), max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}

//export teGoSegmentQuery
func teGoSegmentQuery(h C.te_engine, segment C.uint64_t, buf *C.char, capacity C.size_t, needed *C.size_t) (rc C.int) {
	const op = "query segment"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	text, err := e.SegmentJSON(types.SegmentID(segment))
	if err != nil {
		return finish(err)
	}
	return finish(textOut(op, text, buf, capacity, needed))
}

//export teGoSegmentClose
func teGoSegmentClose(h C.te_engine, segment C.uint64_t) (rc C.int) {
	const op = "close segment"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	return finish(e.CloseSegment(types.SegmentID(segment)))
}

//export teGoSegmentPing
func teGoSegmentPing(h C.te_engine, segment C.uint64_t, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "ping"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	t, err := e.Ping(types.SegmentID(segment), max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}

//export teGoSegmentNotify
func teGoSegmentNotify(h C.te_engine, segment C.uint64_t, payload unsafe.Pointer, length C.size_t, tag *C.char,
	after C.te_batch, timeoutMS C.int64_t, out *C.te_task,
) (rc C.int) {
	const op = "notify"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	label, err := textIn(op, "tag", tag, maxName)
	if err != nil {
		return finish(err)
	}
	var first engine.Batch
	if after != 0 {
		if first, _, err = enterBatch(op, uint64(h), uint64(after)); err != nil {
			return finish(err)
		}
		defer e.leave() // entered twice
	}
	data := C.GoBytes(payload, C.int(length)) // te.c bounds length
	t, err := e.Notify(types.SegmentID(segment), data, label, first, max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}
