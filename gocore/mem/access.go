package mem

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"unsafe"

	"mooncake_te/gocore/errcode"
	"mooncake_te/gocore/mem/castagnoli"
)

// Bytes makes a slice of n bytes at addr. It must not outlive the access that allows it, and touching it outside this
// package kills the process when the memory is gone: use it for memory that is known to be ours.
func Bytes(addr uint64, n int) []byte {
	if n == 0 {
		return nil
	}
	// Through a pointer to the variable: the address is not one of Go's, and stays out of pointer arithmetic rules.
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

// Copy moves n bytes; the ranges may overlap. On MEMORY_FAULT an unknown part of dst was written.
func Copy(dst, src uint64, n int) (err error) {
	if n <= 0 {
		return nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catch(&err, "copy")
	copy(Bytes(dst, n), Bytes(src, n))
	return nil
}

// CRC32C continues a Castagnoli checksum over n bytes at addr; start with 0.
func CRC32C(crc uint32, addr uint64, n int) (sum uint32, err error) {
	if n <= 0 {
		return crc, nil
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catch(&err, "checksum")
	return castagnoli.Update(crc, Bytes(addr, n)), nil
}

// CRC32CBytes is CRC32C over memory of our own.
func CRC32CBytes(crc uint32, b []byte) uint32 { return castagnoli.Update(crc, b) }

// CRC32CVec continues a checksum over the first n bytes of iov. On MEMORY_FAULT at says which entry could not be read.
func CRC32CVec(crc uint32, iov []Iovec, n int) (sum uint32, at int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer catch(&err, "checksum")
	for at = range iov {
		if n <= 0 {
			break
		}
		m := min(int(iov[at].Len), n)
		crc = castagnoli.Update(crc, Bytes(iov[at].Base, m))
		n -= m
	}
	return crc, at, nil
}

// catch turns the runtime's panic for a fault at an address into a typed error. Any other panic goes on.
func catch(err *error, op string) {
	r := recover()
	if r == nil {
		return
	}
	if f, ok := r.(interface {
		runtime.Error
		Addr() uintptr
	}); ok {
		*err = Fault(op, uint64(f.Addr()))
		return
	}
	panic(r)
}

// Fault is the error for memory that cannot be touched. addr is 0 when it is not known.
func Fault(op string, addr uint64) *errcode.Error {
	detail := "the memory is not mapped or does not allow it"
	if addr != 0 {
		detail = fmt.Sprintf("address %#x is not mapped or does not allow it", addr)
	}
	return errcode.New(errcode.MemoryFault, op, detail).
		WithHint("deregister memory before it is freed, unmapped or its file truncated")
}
