package capi

/*
#include "te_internal.h"
*/
import "C"

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"unicode/utf8"
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
	text, code := errorJSON(err)
	C.capi_error_set((*C.char)(unsafe.Pointer(unsafe.SliceData(text))), C.size_t(len(text)))
	return code
}

// errorText is what te_last_error returns.
type errorText struct {
	Code    errcode.Code `json:"code"`
	Name    string       `json:"name"`
	Op      string       `json:"op"`
	Segment string       `json:"segment"`
	Peer    string       `json:"peer"`
	Device  string       `json:"device"`
	Path    string       `json:"path"`
	Detail  string       `json:"detail"`
	Hint    string       `json:"hint"`
	Message string       `json:"message"`
}

// Bounds of one error's texts: a configuration with thousands of problems must not make te_last_error unwieldy.
const maxErrorText = 16 << 10

func errorJSON(err error) ([]byte, errcode.Code) {
	e, ok := errors.AsType[*errcode.Error](err)
	if !ok || e.Code == errcode.OK {
		e = errcode.New(errcode.Internal, "", "").Wrap(err)
		err = e
	}
	detail := e.Detail
	if e.Err != nil {
		detail = strings.TrimPrefix(detail+": "+e.Err.Error(), ": ")
	}
	text := errorText{
		Code: e.Code, Name: e.Code.String(), Op: e.Op, Segment: e.Segment, Peer: e.Peer, Device: e.Device, Path: e.Path,
		Detail: truncate(detail), Hint: truncate(e.Hint), Message: truncate(err.Error()),
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(text) != nil { // a struct of strings and a number always encodes
		return []byte("{}"), e.Code
	}
	return bytes.TrimRight(b.Bytes(), "\n"), e.Code
}

func truncate(s string) string {
	if len(s) <= maxErrorText {
		return s
	}
	n := maxErrorText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + " ..."
}
