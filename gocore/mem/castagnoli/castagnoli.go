// Package castagnoli makes CRC32C checksums at the speed of memory. It is the standard library's checksum, with a loop in
// assembly for long input where the processor has what it needs; that is why it is a package of its own (gocore/mem has
// C, and Go's tools do not mix the two). It reads only what it is given, keeps nothing, and a fault of that memory is
// the caller's to catch: as in Go code, it shows as a panic under debug.SetPanicOnFault.
package castagnoli

import "hash/crc32"

var table = crc32.MakeTable(crc32.Castagnoli)

// Update continues a checksum over b; start with 0.
func Update(crc uint32, b []byte) uint32 { return update(crc, b) }
