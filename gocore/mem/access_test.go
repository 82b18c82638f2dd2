package mem

import (
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"mooncake_te/gocore/errcode"
)

func mapped(t *testing.T, n int) *Mapping {
	t.Helper()
	m, err := Map(uint64(n))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Free()) })
	return m
}

func fill(b []byte, seed uint64) {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
}

// hole maps three pages and unmaps the one in the middle.
func hole(t *testing.T) (addr uint64, page int) {
	t.Helper()
	page = os.Getpagesize()
	b, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	addr = Address(b)
	require.NoError(t, unmapRange(addr+uint64(page), page))
	t.Cleanup(func() {
		require.NoError(t, unmapRange(addr, page))
		require.NoError(t, unmapRange(addr+2*uint64(page), page))
	})
	return addr, page
}

func unmapRange(addr uint64, n int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MUNMAP, uintptr(addr), uintptr(n), 0); errno != 0 {
		return errno
	}
	return nil
}

// truncated maps a file of two pages and cuts it to one: the second page raises SIGBUS.
func truncated(t *testing.T) (addr uint64, page int) {
	t.Helper()
	page = os.Getpagesize()
	f, err := os.Create(filepath.Join(t.TempDir(), "buffer"))
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.NoError(t, f.Truncate(int64(2*page)))
	b, err := unix.Mmap(int(f.Fd()), 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Munmap(b)) })
	require.NoError(t, f.Truncate(int64(page)))
	return Address(b), page
}

func requireFault(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, errcode.MemoryFault, errcode.Of(err), "%v", err)
}

func TestCopyAndChecksum(t *testing.T) {
	for _, n := range []int{0, 1, 7, 4096, 100_003} {
		src, dst := mapped(t, n+1), mapped(t, n+1)
		fill(src.Bytes(), uint64(n))
		require.NoError(t, Copy(dst.Addr(), src.Addr(), n))
		require.Equal(t, src.Bytes()[:n], dst.Bytes()[:n])
		require.Zero(t, dst.Bytes()[n])
		sum, err := CRC32C(0, dst.Addr(), n)
		require.NoError(t, err)
		require.Equal(t, crc32.Checksum(src.Bytes()[:n], crc32.MakeTable(crc32.Castagnoli)), sum)
	}
}

func TestChecksumOverEntries(t *testing.T) {
	m := mapped(t, 8192)
	fill(m.Bytes(), 1)
	iov := []Iovec{{m.Addr(), 100}, {m.Addr() + 4000, 1}, {m.Addr() + 200, 3000}}
	var flat []byte
	for _, v := range iov {
		flat = append(flat, Bytes(v.Base, int(v.Len))...)
	}
	for _, n := range []int{0, 1, 99, 100, 101, 102, 3101} {
		sum, _, err := CRC32CVec(0, iov, n)
		require.NoError(t, err)
		require.Equal(t, CRC32CBytes(0, flat[:n]), sum, "first %d bytes", n)
	}
}

func TestUnmappedMemoryIsAFault(t *testing.T) {
	m := mapped(t, 3*os.Getpagesize())
	addr, page := hole(t)
	requireFault(t, Copy(m.Addr(), addr, 3*page))
	requireFault(t, Copy(addr, m.Addr(), 3*page))
	_, err := CRC32C(0, addr, 3*page)
	requireFault(t, err)
	var e *errcode.Error
	require.True(t, errors.As(err, &e))
	require.Contains(t, e.Detail, "0x", "names the address")
	_, at, err := CRC32CVec(0, []Iovec{{m.Addr(), 10}, {addr, 10}, {addr + uint64(page), 10}}, 30)
	requireFault(t, err)
	require.Equal(t, 2, at)
	require.NoError(t, Copy(m.Addr(), addr, page), "memory beside the hole still works")
}

func TestTruncatedFileIsAFault(t *testing.T) {
	addr, page := truncated(t)
	m := mapped(t, 2*page)
	require.NoError(t, Copy(m.Addr(), addr, page))
	requireFault(t, Copy(m.Addr(), addr, 2*page))
	requireFault(t, Copy(addr, m.Addr(), 2*page))
	_, err := CRC32C(0, addr, 2*page)
	requireFault(t, err)
}

func TestReadOnlyTargetIsAFault(t *testing.T) {
	page := os.Getpagesize()
	b, err := unix.Mmap(-1, 0, page, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(b)) }()
	m := mapped(t, page)
	requireFault(t, Copy(Address(b), m.Addr(), page))
}

func TestOtherPanicsGoOn(t *testing.T) {
	require.PanicsWithValue(t, "a bug", func() {
		var err error
		defer catch(&err, "test")
		panic("a bug")
	})
}

func TestFaultsAreRestoredToFatal(t *testing.T) {
	addr, page := hole(t)
	requireFault(t, Copy(addr, addr+uint64(page), 1))
	was := setPanicOnFault(false)
	require.False(t, was, "the setting of this goroutine was put back")
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	m := mapped(t, 8192)
	iov := []Iovec{{m.Addr(), 4096}, {m.Addr() + 4096, 100}}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_ = Copy(m.Addr(), m.Addr()+4096, 4096)
		_, _ = CRC32C(0, m.Addr(), 8192)
		_, _, _ = CRC32CVec(0, iov, 4196)
	}))
}

func BenchmarkCRC32C(b *testing.B) {
	m, err := Map(512 << 10)
	require.NoError(b, err)
	defer func() { _ = m.Free() }()
	fill(m.Bytes(), 3)
	b.SetBytes(int64(m.Len()))
	for b.Loop() {
		_, _ = CRC32C(0, m.Addr(), int(m.Len()))
	}
}

// A page that goes away in the middle of a long checksum is an error, not the end of the process.
func TestLongChecksumOverAHole(t *testing.T) {
	addr, page := hole(t)
	sum, err := CRC32C(0, addr, page) // the readable part
	require.NoError(t, err)
	require.NotZero(t, sum)
	_, err = CRC32C(0, addr, 2*page)
	require.Equal(t, errcode.MemoryFault, errcode.Of(err))
}
