package capi

/*
#include "te.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"mooncake_te/gocore/control"
	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/transport/tcp"
	"mooncake_te/gocore/types"
)

// libraryInfo is what te_version returns.
type libraryInfo struct {
	Library     string `json:"library"`
	ABI         string `json:"abi"`
	ProtocolMin uint32 `json:"protocol_min"`
	ProtocolMax uint32 `json:"protocol_max"`
	Go          string `json:"go"`
	TCPProtocol uint32 `json:"tcp_protocol"`
}

//export teGoVersion
func teGoVersion(buf *C.char, capacity C.size_t, needed *C.size_t) (rc C.int) {
	const op = "read version"
	defer guard(op, &rc)
	text, err := json.Marshal(libraryInfo{
		Library: types.LibraryVersion, ABI: fmt.Sprintf("%d.%d", C.TE_ABI_MAJOR, C.TE_ABI_MINOR),
		ProtocolMin: control.ProtocolMin, ProtocolMax: control.ProtocolMax,
		Go: runtime.Version(), TCPProtocol: tcp.MaxVersion,
	})
	if err != nil {
		return finish(err)
	}
	return finish(textOut(op, text, buf, capacity, needed))
}

//export teGoRuntimeSet
func teGoRuntimeSet(key *C.char, value C.int64_t) (rc C.int) {
	const op = "set runtime option"
	defer guard(op, &rc)
	k, err := textIn(op, "key", key, maxKey)
	if err != nil {
		return finish(err)
	}
	return finish(runtimeSet(op, k, int64(value)))
}

// Ranges of te_runtime_set: more threads than any machine has cores, and a percentage that still means something, are
// taken for slips of the caller.
const (
	maxProcs     = 4096
	maxGCPercent = 1_000_000
)

func runtimeSet(op, key string, value int64) error {
	refuse := func(allowed string) error {
		return errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("%s = %d", key, value)).WithHint(allowed)
	}
	switch key {
	case "gomaxprocs":
		if value < 1 || value > maxProcs {
			return refuse(fmt.Sprintf("gomaxprocs is a number of threads, 1 to %d", maxProcs))
		}
		runtime.GOMAXPROCS(int(value))
	case "gogc":
		if value < -1 || value > maxGCPercent {
			return refuse(fmt.Sprintf("gogc is a percentage, 0 to %d, or -1 to switch it off", maxGCPercent))
		}
		debug.SetGCPercent(int(value))
	case "memory_limit":
		if value < 1 {
			return refuse("memory_limit is a number of bytes above 0; 9223372036854775807 means no limit")
		}
		debug.SetMemoryLimit(value)
	default:
		return errcode.New(errcode.InvalidArgument, op, fmt.Sprintf("unknown key %q", key)).
			WithHint("gomaxprocs, gogc and memory_limit can be set")
	}
	return nil
}
