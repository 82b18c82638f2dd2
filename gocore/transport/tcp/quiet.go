package tcp

import "golang.org/x/sys/unix"

// quietMark is how many bytes must lie in a hushed socket before the kernel wakes whoever sleeps on it.
const quietMark = 64 << 10

// hush and rouse set how much input makes a socket readable to pollers (SO_RCVLOWAT). A hushed socket is read by somebody
// who looks at it without sleeping; reads find what is there all the same, and the end of the connection wakes as ever.
// rouse wakes at once if something is there. A failure of either leaves the socket as noisy as it was.
func (s *stream) hush()  { _ = s.raw.Control(s.hushStep) }
func (s *stream) rouse() { _ = s.raw.Control(s.rouseStep) }

func stepHush(fd uintptr)  { setMark(fd, quietMark) }
func stepRouse(fd uintptr) { setMark(fd, 1) }

func setMark(fd uintptr, n int) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
}
