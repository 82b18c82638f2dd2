package tcp

import (
	"mooncake_te/gocore/errcode"
)

// write takes the payload of a WRITE into granted memory and answers. What was refused is dropped, so that the connection
// stays in step.
func (c *conn) write() error {
	refused := c.status != errcode.OK
	if refused {
		// At once, so that a peer with much to send can stop.
		if err := c.finish(c.status, 0); err != nil {
			return err
		}
		if c.head.Length > c.srv.cfg.MaxSinkBytes {
			return badFrame(errcode.ResourceExhausted, "%d bytes of a refused request are more than is read to no purpose", c.head.Length)
		}
	}
	crc := c.head.Flags&FlagCRC != 0
	err := c.recv.payload(&c.mem, c.head.Length, c.head.Chunk, crc, &c.failed, refused, nil, c.yieldFn)
	c.srv.bytesIn.Add(c.recv.applied)
	if err != nil || refused {
		return err
	}
	status := errcode.OK
	switch {
	case c.recv.torn:
		status = errcode.MemoryFault
	case c.recv.badSum:
		c.srv.cfg.Counters.Add(CounterChecksumFails, 1)
		status = errcode.Checksum
	case c.recv.end.Flags&ChunkAbort != 0:
		c.srv.cfg.Counters.Add(CounterAborts, 1)
		status = errcode.Canceled
	}
	return c.finish(status, c.recv.applied)
}

// finish sends the last reply of the present request: the status, or OK with what failed.
func (c *conn) finish(status errcode.Code, applied uint64) error {
	c.lastReply(status, applied)
	return c.send.flush()
}

func (c *conn) lastReply(status errcode.Code, applied uint64) {
	list := c.failed.list
	for _, f := range list {
		if f.Code == errcode.MemoryFault {
			c.srv.cfg.Counters.Add(CounterMemoryFaults, 1)
		}
	}
	if status == errcode.OK {
		if code, _ := c.failed.common(len(c.mem.entries)); code != errcode.OK {
			status = code
		}
	}
	if status != errcode.OK {
		list = nil
	}
	if len(list) > 0 {
		c.srv.cfg.Counters.Add(CounterRefusals, uint64(len(list)))
	}
	c.reply(Reply{Status: status, Applied: applied, Failures: uint32(len(list))})
	c.send.out = AppendFailures(c.send.out, list)
}

// read sends what a READ asked for. Entries that were refused go as zeros and stand in the reply before the payload; those
// that get refused on the way stand in the one after it.
func (c *conn) read() error {
	if c.status != errcode.OK {
		return c.finish(c.status, 0)
	}
	flags := ReplyPayload
	crc := c.head.Flags&FlagCRC != 0
	if crc {
		flags |= ReplyCRC
	}
	known := len(c.failed.list)
	c.reply(Reply{Flags: flags, Failures: uint32(known)})
	c.send.out = AppendFailures(c.send.out, c.failed.list)
	chunk := min(c.head.Chunk, uint32(c.srv.cfg.ChunkBytes))
	complete, err := c.send.payload(&c.mem, c.head.Length, chunk, crc, &c.failed, false, nil, c.payload)
	c.srv.bytesOut.Add(c.send.applied)
	if err != nil {
		return err
	}
	switch {
	case !complete:
		c.srv.cfg.Counters.Add(CounterAborts, 1)
		c.send.out = Chunk{Flags: ChunkAbort | ChunkTrailer}.Append(c.send.out)
		c.lastReply(errcode.Canceled, c.send.applied)
	case c.send.ended:
	case len(c.failed.list) > known:
		c.send.out = Chunk{Flags: ChunkLast | ChunkTrailer}.Append(c.send.out)
		c.lastReply(errcode.OK, c.send.applied)
	default:
		c.send.out = Chunk{Flags: ChunkLast}.Append(c.send.out)
	}
	return c.send.flush()
}

// aborted gives other connections a turn and looks whether the peer has given the present READ up.
func (c *conn) aborted() bool {
	if c.send.whole {
		return false
	}
	c.yieldFn()
	if !c.s.topUp(HeaderLen) {
		return false
	}
	var h Header
	lim := Limits{Entries: c.srv.cfg.MaxEntries, Chunk: MaxChunk}
	if h.Decode(c.s.buffered(), lim) != nil || h.Op != OpAbort || h.Token != c.token || h.RequestID != c.head.RequestID {
		return false // its turn comes
	}
	c.s.take(HeaderLen)
	return true
}
