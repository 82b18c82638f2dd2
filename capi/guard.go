package capi

/*
#include "te_internal.h"
*/
import "C"

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"unsafe"

	"mooncake_te/gocore/errcode"
)

// guard ends every export: `defer guard(op, &rc)`. A panic that left the library would end the host process, so it
// becomes TE_E_INTERNAL, and its stack goes to the log.
func guard(op string, rc *C.int) {
	if p := recover(); p != nil {
		*rc = C.int(setError(panicError(op, p, debug.Stack())))
	}
}

func panicError(op string, p any, stack []byte) *errcode.Error {
	slog.Error("mooncake_te: a panic was contained", "op", op, "panic", fmt.Sprint(p), "stack", string(stack))
	return errcode.New(errcode.Internal, op, fmt.Sprintf("panic: %v", p)).
		WithHint("this is a bug of mooncake_te; its stack is on stderr, please report it")
}

// finish turns an export's error into its code and keeps the details for te_last_error of this thread.
func finish(err error) C.int {
	if err == nil {
		return C.int(errcode.OK)
	}
	return C.int(setError(err))
}

// setError stores the error for te_last_error. A cgo call stays on the thread of its caller, so the C side finds the
// right thread's key.
func setError(err error) errcode.Code {
	text, code := errcode.JSON(err)
	C.capi_error_set((*C.char)(unsafe.Pointer(unsafe.SliceData(text))), C.size_t(len(text)))
	return code
}
