package capi

/*
#include "te.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"mooncake_te/gocore/engine"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

//export teGoBufferRegister
func teGoBufferRegister(h C.te_engine, first unsafe.Pointer, stride C.uint32_t, n C.size_t,
	ids *C.uint64_t,
) (rc C.int) {
	const op = "register memory"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	regs := make([]engine.Registration, n)
	for i := range regs {
		r := (*C.te_registration)(unsafe.Add(first, uintptr(i)*uintptr(stride)))
		if regs[i], err = registrationIn(op, i, r); err != nil {
			return finish(err)
		}
	}
	made, err := e.Register(regs)
	if err != nil {
		return finish(err)
	}
	for i, id := range made {
		words(ids, len(regs))[i] = uint64(id)
	}
	return 0
}

// registrationIn checks what must be checked before a 32-bit number becomes a smaller one; the rest is the engine's.
func registrationIn(op string, i int, r *C.te_registration) (engine.Registration, error) {
	refuse := func(field string, value uint64, allowed string) (engine.Registration, error) {
		return engine.Registration{}, errcode.New(errcode.InvalidArgument, op,
			fmt.Sprintf("registration %d: %s = %d", i, field, value)).WithHint(allowed)
	}
	if r.remote > C.TE_REMOTE_GRANTS {
		return refuse("remote", uint64(r.remote), "remote is TE_REMOTE_NONE, TE_REMOTE_ALL or TE_REMOTE_GRANTS")
	}
	perm := types.Perm(0)
	if r.remote != C.TE_REMOTE_NONE {
		var ok bool
		if perm, ok = permIn(r.perm); !ok {
			return refuse("perm", uint64(r.perm), permHint)
		}
	}
	if r.writable > 1 {
		return refuse("writable", uint64(r.writable), "writable is 0 or 1")
	}
	label, err := textIn(op, fmt.Sprintf("label of registration %d", i), r.label, maxLabel)
	if err != nil {
		return engine.Registration{}, err
	}
	location, err := textIn(op, fmt.Sprintf("location of registration %d", i), r.location, maxLabel)
	if err != nil {
		return engine.Registration{}, err
	}
	if location == "" {
		location = "*"
	}
	return engine.Registration{
		Address: uint64(r.address), Length: uint64(r.length), Remote: types.Remote(r.remote), Perm: perm,
		Writable: r.writable == 1, Label: label, Location: location,
	}, nil
}

const permHint = "perm is TE_PERM_READ, TE_PERM_WRITE or both"

func permIn(perm C.uint32_t) (types.Perm, bool) {
	if perm == 0 || perm&^(C.TE_PERM_READ|C.TE_PERM_WRITE) != 0 {
		return 0, false
	}
	return types.Perm(perm), true
}

// words views a caller's array of 64-bit numbers; it must not be kept beyond the call.
func words(p *C.uint64_t, n int) []uint64 { return unsafe.Slice((*uint64)(unsafe.Pointer(p)), n) }

//export teGoBufferDrain
func teGoBufferDrain(h C.te_engine, ids *C.uint64_t, n C.size_t, withinMS C.int64_t, out *C.te_task) (rc C.int) {
	const op = "drain buffers"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	list := make([]types.BufferID, n)
	for i, id := range words(ids, len(list)) {
		list[i] = types.BufferID(id)
	}
	t, err := e.Drain(list, millis(int64(withinMS)))
	return finish(newTask(e, t, err, out))
}

//export teGoBufferGrant
func teGoBufferGrant(h C.te_engine, buffer C.uint64_t, offsets, lengths *C.uint64_t, n C.size_t, perm C.uint32_t,
	peer *C.char, out *C.uint64_t,
) (rc C.int) {
	const op = "grant"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	p, ok := permIn(perm)
	if !ok {
		return finish(errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("perm = %d", uint32(perm))).WithHint(permHint))
	}
	to, err := instanceIn(op, "peer", peer)
	if err != nil {
		return finish(err)
	}
	ranges := make([]types.Range, n)
	lens := words(lengths, len(ranges))
	for i, off := range words(offsets, len(ranges)) {
		ranges[i] = types.Range{Off: off, Len: lens[i]}
	}
	id, err := e.Grant(types.BufferID(buffer), ranges, p, to)
	if err != nil {
		return finish(err)
	}
	*out = C.uint64_t(id)
	return 0
}

// instanceIn reads an instance ID; NULL is "nobody in particular", which cannot be written as digits.
func instanceIn(op, what string, p *C.char) (types.InstanceID, error) {
	if p == nil {
		return types.InstanceID{}, nil
	}
	s, err := textIn(op, what, p, maxKey)
	if err != nil {
		return types.InstanceID{}, err
	}
	id, err := types.ParseInstanceID(s)
	if err == nil && id.IsZero() {
		err = fmt.Errorf("instance ID %q names nobody", s)
	}
	if err != nil {
		return types.InstanceID{}, errcode.New(errcode.InvalidArgument, op, what+": "+err.Error()).
			WithHint("pass the 32 hexadecimal digits of the instance, or NULL")
	}
	return id, nil
}

//export teGoMemoryAllocate
func teGoMemoryAllocate(h C.te_engine, length C.uint64_t, address *C.uint64_t) (rc C.int) {
	const op = "allocate memory"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	a, err := e.Allocate(uint64(length))
	if err != nil {
		return finish(err)
	}
	*address = C.uint64_t(a)
	return 0
}

//export teGoMemoryFree
func teGoMemoryFree(h C.te_engine, address C.uint64_t) (rc C.int) {
	const op = "free memory"
	defer guard(op, &rc)
	e, err := enterEngine(op, uint64(h))
	if err != nil {
		return finish(err)
	}
	defer e.leave()
	return finish(e.Free(uint64(address)))
}
