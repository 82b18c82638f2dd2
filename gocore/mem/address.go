package mem

import "unsafe"

// Address of the first byte of b, or 0 when b is empty. The caller keeps b alive for as long as the number is used.
func Address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
