// Package mem is the only place of gocore that touches user memory, and the only one that maps memory of its own.
//
// User memory is an address (uint64) until the moment a copy or a checksum runs over it. It belongs to the caller: it may
// be unmapped or truncated behind our back, so every access here turns SIGSEGV and SIGBUS into a MEMORY_FAULT error, and
// the vectored system calls leave the fault to the kernel (EFAULT). Nothing here decides whether memory *may* be
// touched; that is gocore/gate and the owner's grants, which the callers hold around each call.
//
// All functions may be called from any goroutine. None allocates unless it fails, except those that map memory.
package mem
