package capi

/*
#include <string.h>
#include "te_internal.h"
*/
import "C"

import (
	"fmt"
	"unicode/utf8"
	"unsafe"

	"mooncake_te/gocore/errcode"
)

// Bounds of what is read from a caller's text, in bytes.
const (
	maxConfig = C.TE_MAX_CONFIG
	maxName   = C.TE_MAX_NAME
	maxLabel  = C.TE_MAX_LABEL
	maxKey    = C.TE_MAX_KEY
)

// textIn copies a caller's text, reading at most limit+1 bytes of it. NULL is the empty text.
func textIn(op, what string, p *C.char, limit int) (string, error) {
	if p == nil {
		return "", nil
	}
	n := int(C.strnlen(p, C.size_t(limit+1)))
	if n > limit {
		return "", errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("%s is longer than %d bytes", what, limit)).
			WithHint("shorten it, and end it with NUL")
	}
	s := C.GoStringN(p, C.int(n))
	if !utf8.ValidString(s) {
		return "", errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("%s %q is not UTF-8", what, s)).
			WithHint("encode it as UTF-8")
	}
	return s, nil
}

// textOut is the convention of every text output: the size with the NUL goes to *needed; the text is copied whole or
// not at all.
func textOut(op string, text []byte, buf *C.char, capacity C.size_t, needed *C.size_t) error {
	size := len(text) + 1
	if needed != nil {
		*needed = C.size_t(size)
	}
	if buf == nil || uint64(capacity) < uint64(size) {
		detail := fmt.Sprintf("%d bytes are needed, %d were given", size, uint64(capacity))
		return errcode.New(errcode.BufferTooSmall, op, detail).WithHint("call again with a buffer of the size that *needed says")
	}
	out := unsafe.Slice((*byte)(unsafe.Pointer(buf)), size)
	copy(out, text)
	out[size-1] = 0
	return nil
}
