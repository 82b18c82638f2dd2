package coherence

import (
	"sync/atomic"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/types"
)

// Slice is a piece of one request on one path. Local is an address of this process.
type Slice struct {
	Local  uint64
	Remote types.BufferID
	Off    uint64
	Len    uint64
	Req    uint32 // index of the (first) request in its batch
	// Count is how many requests it covers, from Req on: adjacent ones are merged, and share the slice's outcome. Zero:
	// it is one of several pieces of request Req.
	Count uint32
}

// Post is what goes to the wire as one request: slices of one batch, in one direction, on one path.
// Nobody may change it between Path.Post and its result; after the result it is the Transfer's again, which uses it for
// another post: nobody else may look at it.
type Post struct {
	ID     uint64 // unique per engine, never 0 and never used again, also not by a retry; the wire's request ID
	Op     types.Op
	Class  types.Class
	CRC    bool
	Trace  uint32
	Slices []Slice
	Bytes  uint64 // sum of the slices' lengths
	// Path it was given to; set by whoever posts it (Transfer.Posted).
	Path types.PathID
	// Moved counts payload bytes put on (WRITE) or taken off (READ) the wire, for progress and the stall deadline.
	Moved atomic.Uint64
	// Transfer that made it.
	Transfer *Transfer

	state postState
}

// SliceResult is the answer for one slice that differs from the post's own result.
type SliceResult struct {
	Index   uint32 // into Post.Slices
	Code    errcode.Code
	Applied uint64 // bytes of the slice that reached (WRITE) or left (READ) the target's memory
}

// Result is what became of a post. The transport says what it knows and never guesses in the caller's favour.
type Result struct {
	// Code is OK when every slice but those in Failed completed, or why the post as a whole did not.
	Code errcode.Code
	// Sent: some of the post may have left this process. False: the target has seen nothing of it.
	Sent bool
	// Answered: the target itself reported the end of this post (or acknowledged its abort), so nothing of it can land
	// any more: remote quiet. False: the path ended first.
	Answered bool
	// Applied counts bytes that the target said it applied or returned, over all slices.
	Applied uint64
	// Failed lists slices whose result differs from Code when Code is OK. Sorted by Index.
	Failed []SliceResult
	// Detail is a sentence for the error, possibly empty.
	Detail string
	// Version and Floor are the target's, from its answer; 0 when not Answered.
	Version, Floor types.Version
	// Instance is the responder's identity when it refused the post with STALE_INSTANCE.
	Instance types.InstanceID
}
