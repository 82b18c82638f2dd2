#include "textflag.h"

// func hasVPCLMULQDQ() bool
TEXT ·hasVPCLMULQDQ(SB), NOSPLIT, $0-1
	MOVL $7, AX
	XORL CX, CX
	CPUID
	SHRL $10, CX
	ANDL $1, CX
	MOVB CX, ret+0(FP)
	RET

// STEP folds one of eight accumulators over the 256 bytes between its place and the next load.
#define STEP(off, acc, tmp) \
	VPCLMULQDQ $0x00, Y8, acc, tmp \
	VPCLMULQDQ $0x11, Y8, acc, acc \
	VPXOR      tmp, acc, acc       \
	VPXOR      off(SI), acc, acc

// func fold(p *byte, n uintptr, state uint32, k *[2]uint64) uint32
TEXT ·fold(SB), NOSPLIT, $256-36
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ k+24(FP), DX
	VBROADCASTI128 (DX), Y8

	VMOVDQU 0(SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VMOVDQU 128(SI), Y4
	VMOVDQU 160(SI), Y5
	VMOVDQU 192(SI), Y6
	VMOVDQU 224(SI), Y7
	MOVL    state+16(FP), AX
	VMOVD   AX, X9
	VPXOR   Y9, Y0, Y0
	ADDQ    $256, SI
	SUBQ    $256, CX
	JZ      done

loop:
	STEP(0, Y0, Y9)
	STEP(32, Y1, Y10)
	STEP(64, Y2, Y11)
	STEP(96, Y3, Y12)
	STEP(128, Y4, Y9)
	STEP(160, Y5, Y10)
	STEP(192, Y6, Y11)
	STEP(224, Y7, Y12)
	ADDQ $256, SI
	SUBQ $256, CX
	JNZ  loop

done:
	VMOVDQU Y0, rest-256(SP)
	VMOVDQU Y1, rest-224(SP)
	VMOVDQU Y2, rest-192(SP)
	VMOVDQU Y3, rest-160(SP)
	VMOVDQU Y4, rest-128(SP)
	VMOVDQU Y5, rest-96(SP)
	VMOVDQU Y6, rest-64(SP)
	VMOVDQU Y7, rest-32(SP)
	VZEROUPPER

	// The 256 bytes that are left have the remainder of all, begun with an empty register.
	LEAQ rest-256(SP), SI
	MOVQ $32, CX
	XORQ AX, AX

rest:
	CRC32Q (SI), AX
	ADDQ   $8, SI
	DECQ   CX
	JNZ    rest
	MOVL   AX, ret+32(FP)
	RET

// WIDE folds one of eight accumulators over the 512 bytes between its place and the next load.
#define WIDE(off, acc, tmp) \
	VPCLMULQDQ $0x00, Z8, acc, tmp \
	VPCLMULQDQ $0x11, Z8, acc, acc \
	VPTERNLOGQ $0x96, off(SI), tmp, acc

// JOIN folds acc into another accumulator, that many bytes on as key is for.
#define JOIN(key, acc, to, tmp) \
	VPCLMULQDQ $0x00, key, acc, tmp \
	VPCLMULQDQ $0x11, key, acc, acc \
	VPTERNLOGQ $0x96, acc, tmp, to

// func fold512(p *byte, n uintptr, state uint32, k *[8]uint64) uint32
TEXT ·fold512(SB), NOSPLIT, $64-36
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ k+24(FP), DX
	VBROADCASTI32X4 (DX), Z8

	VMOVDQU64 0(SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVDQU64 256(SI), Z4
	VMOVDQU64 320(SI), Z5
	VMOVDQU64 384(SI), Z6
	VMOVDQU64 448(SI), Z7
	MOVL      state+16(FP), AX
	VMOVD     AX, X9
	VPXORQ    Z9, Z0, Z0
	ADDQ      $512, SI
	SUBQ      $512, CX
	JZ        join

wide:
	WIDE(0, Z0, Z9)
	WIDE(64, Z1, Z10)
	WIDE(128, Z2, Z11)
	WIDE(192, Z3, Z12)
	WIDE(256, Z4, Z13)
	WIDE(320, Z5, Z14)
	WIDE(384, Z6, Z15)
	WIDE(448, Z7, Z9)
	ADDQ $512, SI
	SUBQ $512, CX
	JNZ  wide

join:
	VBROADCASTI32X4 16(DX), Z8
	JOIN(Z8, Z0, Z4, Z9)
	JOIN(Z8, Z1, Z5, Z10)
	JOIN(Z8, Z2, Z6, Z11)
	JOIN(Z8, Z3, Z7, Z12)
	VBROADCASTI32X4 32(DX), Z8
	JOIN(Z8, Z4, Z6, Z9)
	JOIN(Z8, Z5, Z7, Z10)
	VBROADCASTI32X4 48(DX), Z8
	JOIN(Z8, Z6, Z7, Z9)
	VMOVDQU64 Z7, last-64(SP)
	VZEROUPPER

	// The 64 bytes that are left have the remainder of all, begun with an empty register.
	XORQ   AX, AX
	CRC32Q last-64(SP), AX
	CRC32Q last-56(SP), AX
	CRC32Q last-48(SP), AX
	CRC32Q last-40(SP), AX
	CRC32Q last-32(SP), AX
	CRC32Q last-24(SP), AX
	CRC32Q last-16(SP), AX
	CRC32Q last-8(SP), AX
	MOVL   AX, ret+32(FP)
	RET
