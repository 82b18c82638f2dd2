package sim

// scene lets a named scenario hold things back, so that they happen in the order that it is about. Everything else goes
// on as the world likes.
type scene struct {
	// hold, if not nil, says whether something waits: a message that is about to be taken by p, a handler of one of p's
	// inbound connections about to do something, or a fetch of p about to be answered.
	hold func(p *proc, what any) bool
}

func (s *scene) holds(p *proc, what any) bool {
	return s != nil && s.hold != nil && s.hold(p, what)
}
