package hostile

// reader turns bytes into arguments. After the end it yields zeros.
type reader struct{ b []byte }

func (r *reader) empty() bool { return len(r.b) == 0 }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

// borders are the numbers that checks stand or fall at.
var borders = [...]uint64{
	0, 1, 2, 3, 7, 8, 63, 64, 65, 255, 4095, 4096, 4097, 1<<16 - 1, 1 << 16, 1<<20 - 1, 1 << 20, 1<<20 + 1, 1 << 31,
	1<<31 - 1, 1 << 32, 1<<32 - 1, 1<<53 - 1, 1 << 62, 1<<63 - 1, 1 << 63, ^uint64(0) - 1, ^uint64(0),
}

// number draws one of the known ones, a border, or anything.
func (r *reader) number(known []uint64) uint64 {
	x := r.byte()
	switch {
	case x < 180 && len(known) > 0:
		return known[int(x)%len(known)]
	case x < 235:
		return borders[int(x)%len(borders)]
	}
	var n uint64
	for range 8 {
		n = n<<8 | uint64(r.byte())
	}
	return n
}

// count is how many entries an array is said to have: what it has, at most, or more than any call accepts.
func (r *reader) count() uint64 {
	x := r.byte()
	if x < 240 {
		return uint64(x) % (arrayLen + 1)
	}
	return [...]uint64{1<<24 + 1, 1 << 31, 1 << 32, 1 << 61, 1 << 63, ^uint64(0)}[int(x)%6]
}

// text is up to 700 bytes; ok is false for NULL.
func (r *reader) text() (s string, ok bool) {
	n := int(r.byte())
	if n == 0 {
		return "", false
	}
	if n > 250 {
		n = 700
	}
	n = min(n-1, len(r.b))
	s = string(r.b[:n])
	r.b = r.b[n:]
	return s, true
}
