// trace: what each layer said of one packet, written down for whoever asked. Programs that carry traffic are loaded with tracing 0:
// the verifier takes all of this out of them.
#pragma once
#include "state.h"
#include "packet.h"

// What cannot be told from the verdict and the other words.
enum step_word { STEP_GUARD = 1, STEP_HIT, STEP_MISS, STEP_ALLOW, STEP_LOCAL, STEP_REMOTE };

#define STEPS_KEPT 32

struct step {
	u64 rule;
	u32 port;
	u8 word, dir, unused[2];
};

struct steps {
	u32 n, unused;
	struct step at[STEPS_KEPT];
};

struct steps steps SEC(".data.steps");

// Inlined, and without a variable in memory: a call or a frame would count for the programs that carry traffic, too. The verifier leaves
// a load of a constant there. It stands inside the branch that it tells of, not before it, so that the compiler keeps that one.
#define TRACE(p, what)                                                        \
	do {                                                                  \
		if (tracing) {                                                \
			struct step *at = &steps.at[steps.n & (STEPS_KEPT - 1)]; \
			at->rule = (p)->rule;                                 \
			at->port = (p)->index;                                \
			at->word = (what);                                    \
			at->dir = (p)->dir;                                   \
			steps.n++;                                            \
		}                                                             \
	} while (0)
