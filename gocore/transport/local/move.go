package local

import (
	"runtime"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem"
	"mooncake_te/gocore/transport"
	"mooncake_te/gocore/types"
)

// piece is how many bytes are copied under one access.
const piece = 1 << 20

// mover copies one post after the other.
type mover struct{ p *Path }

// move carries out a post, slice by slice, each with a result of its own.
func (m *mover) move(post *transport.Post) transport.Result {
	memory := m.p.cfg.Memory
	self := memory.Instance()
	r := transport.Result{Sent: true, Answered: true}
	var failed []transport.SliceResult
	alike := true
	for i := range post.Slices {
		s := &post.Slices[i]
		code := memory.Admit(self, s.Remote, post.Op, s.Off, s.Len)
		var applied uint64
		if code == errcode.OK {
			applied, code = m.slice(post, s)
		}
		r.Applied += applied
		if code == errcode.Canceled || code == errcode.Closed {
			// Of the post, not of the slice.
			r.Code, r.Detail = code, "given up on the way"
			failed = nil
			break
		}
		if code != errcode.OK {
			failed = append(failed, transport.SliceResult{Index: uint32(i), Code: code, Applied: applied})
			alike = alike && code == failed[0].Code
		}
	}
	if len(failed) == len(post.Slices) && alike && len(failed) > 0 {
		r.Code, failed = failed[0].Code, nil
	}
	r.Failed = failed
	r.Version, r.Floor = memory.Version(self)
	m.p.moved.Add(r.Applied)
	return r
}

// slice copies one slice. It returns how many of its bytes certainly arrived.
func (m *mover) slice(post *transport.Post, s *transport.Slice) (done uint64, code errcode.Code) {
	memory := m.p.cfg.Memory
	self := memory.Instance()
	for done < s.Len {
		switch {
		case m.p.stop.Load() == post:
			return done, errcode.Canceled
		case m.p.cut.Load():
			return done, errcode.Closed
		}
		n := min(s.Len-done, piece)
		a, code := memory.Enter(self, s.Remote, post.Op, s.Off+done, n)
		if code != errcode.OK {
			return done, code
		}
		dst, src := a.Addr, s.Local+done
		if post.Op == types.Read {
			dst, src = src, dst
		}
		err := mem.Copy(dst, src, int(n))
		a.Leave()
		if err != nil {
			return done, errcode.MemoryFault
		}
		done += n
		post.Moved.Add(n)
		if n == piece {
			runtime.Gosched()
		}
	}
	return done, errcode.OK
}
