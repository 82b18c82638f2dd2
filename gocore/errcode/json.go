package errcode

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// text is the JSON form of an Error, as te_last_error and te_batch_explain give it.
type text struct {
	Code    Code   `json:"code"`
	Name    string `json:"name"`
	Op      string `json:"op"`
	Segment string `json:"segment"`
	Peer    string `json:"peer"`
	Device  string `json:"device"`
	Path    string `json:"path"`
	Detail  string `json:"detail"`
	Hint    string `json:"hint"`
	Message string `json:"message"`
}

// maxText bounds each text: a configuration with thousands of problems must not make an error unwieldy.
const maxText = 16 << 10

// JSON renders any error, and tells its code. One that carries no code, or claims success, is INTERNAL: a failure is
// never reported as OK. Detail holds the text of the cause underneath as well, Message that of whatever wraps the Error.
func JSON(err error) ([]byte, Code) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code == OK {
		e = New(Internal, "", "").Wrap(err)
		err = e
	}
	detail := e.Detail
	if e.Err != nil {
		detail = strings.TrimPrefix(detail+": "+e.Err.Error(), ": ")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(text{
		Code: e.Code, Name: e.Code.String(), Op: e.Op, Segment: e.Segment, Peer: e.Peer, Device: e.Device, Path: e.Path,
		Detail: truncate(detail), Hint: truncate(e.Hint), Message: truncate(err.Error()),
	}) != nil { // a struct of strings and a number always encodes
		return []byte("{}"), e.Code
	}
	return bytes.TrimRight(b.Bytes(), "\n"), e.Code
}

// MarshalJSON is JSON without the code.
func (e *Error) MarshalJSON() ([]byte, error) {
	text, _ := JSON(e)
	return text, nil
}

func truncate(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + " ..."
}
