//go:build !amd64

package castagnoli

import "hash/crc32"

func update(crc uint32, b []byte) uint32 { return crc32.Update(crc, table, b) }
