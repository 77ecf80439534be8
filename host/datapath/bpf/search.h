// Reading blobs: tables that user space lays out in one map value. Every offset is cut to the size of the value, so a wrong
// blob can give a wrong answer but never reach outside.
#pragma once
#include "state.h"

// A sorted array of 2n boundaries with one index each; interval i starts at boundary i, boundary 0 is 0. Behind the last one
// it is filled with the highest value and the last index. half is n, 0 when there is one interval only.
struct field {
	u32 bounds, index;
	u64 half;
};

struct blob {
	u8 *at;
	u64 size; // a power of two, known to the verifier on every path
};

#define LOAD(type, b, off) (*(type *)((b)->at + ((off) & ((b)->size - sizeof(type)))))
#define STEPS 18 // of the longest search

// The steps of a search have no branch: a mispredicted one costs more than the rest of the step. n is what base grows by when
// the boundary there is not above the key. A search that is shorter than another in the same loop goes on with n = 0.
#define STEP(type, b, f, base, n, key)                                                       \
	do {                                                                                 \
		u64 under = (u64)(key) - LOAD(type, b, (f)->bounds + (base + n) * sizeof(type)); \
		barrier_var(under);                                                          \
		base += n & ~((s64)under >> 63);                                             \
	} while (0)

// 1 when a < b.
INLINE u64 less64(u64 a, u64 b)
{
	u64 r = (~a & b) | (~(a ^ b) & (a - b));
	barrier_var(r);
	return r >> 63;
}

#define STEP6(b, f, base, n, hi, lo)                                                          \
	do {                                                                                  \
		u64 off = (f)->bounds + (base + n) * 16;                                      \
		u64 vhi = LOAD(u64, b, off), vlo = LOAD(u64, b, off + 8), differ = vhi ^ (hi); \
		differ |= -differ;                                                            \
		barrier_var(differ);                                                          \
		u64 under = less64(hi, vhi) | (~differ >> 63 & less64(lo, vlo));              \
		barrier_var(under);                                                           \
		base += n & (under - 1);                                                      \
	} while (0)
