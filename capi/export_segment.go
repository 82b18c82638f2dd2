package capi

/*
#include "te.h"
*/
import "C"

import (
	"unsafe"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

//export teGoSegmentOpen
func teGoSegmentOpen(h C.te_engine, name *C.char, timeoutMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "open segment"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	s, err := textIn(op, "name", name, maxName)
	if err == nil && s == "" {
		err = errcode.New(errcode.InvalidArgument, op, "name is empty").WithHint(`peer to peer, pass "host:port"`)
	}
	if err != nil {
		return finish(err)
	}
	t, err := e.Open(s, max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
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
	first := &batchObject{}
	if after != 0 {
		if first, err = enterBatch(op, uint64(h), uint64(after)); err != nil {
			return finish(err)
		}
		defer first.engine.leave()
	}
	data := C.GoBytes(payload, C.int(length)) // te.c bounds length
	t, err := e.Notify(types.SegmentID(segment), data, label, first.Batch, max(millis(int64(timeoutMS)), 0))
	return finish(newTask(e, t, err, out))
}
