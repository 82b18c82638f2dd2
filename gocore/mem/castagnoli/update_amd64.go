package castagnoli

import (
	"hash/crc32"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// Processors with carry-less multiplication of vectors fold 256 bytes at a time, with AVX-512 512: two to four times as fast
// as the CRC32 instruction, which the standard library uses and which remains for the rest and for everybody else.

//go:noescape
func fold(p *byte, n uintptr, state uint32, k *[2]uint64) uint32

// fold512 takes keys for distances of 512, 256, 128 and 64 bytes.
//
//go:noescape
func fold512(p *byte, n uintptr, state uint32, k *[8]uint64) uint32

func hasVPCLMULQDQ() bool

const (
	foldBytes = 256
	foldFrom  = 1 << 10 // shorter input is not worth the way in and out
)

var (
	canFold    = cpu.X86.HasAVX2 && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE42 && hasVPCLMULQDQ()
	canFold512 = canFold && cpu.X86.HasAVX512F && cpu.X86.HasAVX512VPCLMULQDQ
	foldKeys   = [2]uint64{power(foldBytes*8 + 32), power(foldBytes*8 - 32)}
	wideKeys   = [8]uint64{
		power(512*8 + 32), power(512*8 - 32), power(256*8 + 32), power(256*8 - 32),
		power(128*8 + 32), power(128*8 - 32), power(64*8 + 32), power(64*8 - 32),
	}
)

// power is x^n modulo the Castagnoli polynomial in the form in which the multiplication of reflected numbers takes it.
func power(n int) uint64 {
	r := uint32(1)
	for range n {
		carry := r >> 31
		r = r<<1 ^ carry*0x1EDC6F41
	}
	return uint64(bits.Reverse32(r)) << 1
}

func update(crc uint32, b []byte) uint32 {
	n := len(b) &^ (2*foldBytes - 1)
	switch {
	case !canFold || len(b) < foldFrom:
		return crc32.Update(crc, table, b)
	case canFold512:
		crc = ^fold512(unsafe.SliceData(b), uintptr(n), ^crc, &wideKeys)
	default:
		n = len(b) &^ (foldBytes - 1)
		crc = ^fold(unsafe.SliceData(b), uintptr(n), ^crc, &foldKeys)
	}
	if n == len(b) {
		return crc
	}
	return crc32.Update(crc, table, b[n:])
}
