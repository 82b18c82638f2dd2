/* local.pml: the two same-host paths   (S1, S2, S3, S8, S9, S10; README.md says what these are)
 *
 * -DCLAIM  same-host WRITE, executed by the owner: claim word and request fields in a page both map. The initiator uses
 *          one slot for two operations, one after the other. The owner can be stopped at any point (any run in which it
 *          takes no further step) or exit between calls (the kernel lets a running copy call end first).
 * -DREAD   same-host READ: one process_vm_readv = [nonce][data 0][data 1][grant word], read in that order in the address
 *          space that the pid meant when the call began. The owner revokes the grant, then the memory changes; the owner
 *          exits or execs; its pid comes back as a stranger, or as a process that was forked from the owner.
 */
#ifdef CLAIM
#define OPEN 1
#define BUSY 2
#define CANCELED 3
#define DONE 4
#define NOP 2
byte word = 0, wseq = 0;      /* claim word: state and request number, one 64-bit word, compared and swapped as one */
byte req = 0;                 /* request fields of the slot: which operation (source, destination, length) */
bool released[NOP+1];         /* initiator: local memory given back to the caller */
bool ended[NOP+1];            /* final state reached */
byte app[NOP+1];              /* chunks applied */
bool gone = false;            /* owner's process is gone */
byte in = 0;                  /* operation whose memory the owner's copy call touches now, 0 none */

#ifdef LITERAL_SEQ
#define SAME(s) true          /* the word is only OPEN / BUSY / CANCELED / DONE */
#else
#define SAME(s) (wseq == s)   /* repair: it carries a request number, never reused in the page's life */
#endif

active proctype Owner() provided (!gone || in != 0) {
  byte r, s, k;
  end: do
  :: atomic { word == OPEN && !gone -> s = wseq };
     r = req; k = 0;                                     /* reads the request */
chunk:
     if
     :: atomic { word == OPEN && SAME(s) ->
#ifndef M_NO_BUSY
          word = BUSY
#else
          skip
#endif
        }
     :: else -> goto next
     fi;
#ifdef M_READ_AFTER_CLAIM
     r = req;
#endif
     in = r;                                              /* the copy call begins */
     atomic { assert(!released[r]);                       /* S10: local memory not released before local quiet */
              assert(!ended[r]);                          /* S8: nothing of an ended operation lands */
              app[r]++; in = 0; k++ };
     if
#ifdef M_DONE_EARLY
     :: true -> word = DONE; goto next
#else
     :: k < 2 ->
#ifndef M_NO_BUSY
        word = OPEN;
#endif
        goto chunk
     :: k == 2 -> word = DONE
#endif
     fi;
next: r = 0; s = 0; k = 0
  od
}
/* the owner's process ends anywhere outside the copy call, also while the word says BUSY */
active proctype Killer() { atomic { in == 0 -> gone = true } }

active proctype Initiator() {
  byte o = 1;
  end: do
  :: o <= NOP ->
     req = o;
     atomic { wseq = o; word = OPEN };
     do
     :: word == DONE -> assert(app[o] == 2); ended[o] = true; released[o] = true; break     /* S8: COMPLETED means every byte */
     :: gone && in == 0 -> ended[o] = true; released[o] = true; o = NOP; break  /* UNKNOWN */
     :: true ->                                                                 /* deadline or cancel */
#ifdef M_CANCEL_STORE
        atomic { word = CANCELED; ended[o] = true; released[o] = true }; break
#else
        if
        :: atomic { word == OPEN -> word = CANCELED; ended[o] = true; released[o] = true }; break
        :: else                                                                 /* BUSY: wait for it to leave or to exit */
#ifdef M_NO_WAIT_BUSY
           -> ended[o] = true; released[o] = true; break
#endif
        fi
#endif
     od;
     o++
  :: else -> break
  od
}
#endif

#ifdef READ
/* address spaces: 1 the owner's, 2 a stranger's, 3 a copy made by fork, 4 the owner's after exec (nothing of ours in it) */
byte pidis = 1;                 /* whose address space the pid means now, 0 nobody's */
bool nonce[5];                /* is our nonce at its place in that address space? */
byte gword[5];                /* grant word: 1 = (g1, its generation), 2 = g2's, 0 none */
byte data0[5], data1[5];      /* 1 = g1's bytes, 2 = g2's or something else, 3 = g1's bytes before the owner's last change */
bool ok = false;              /* deregister or revoke returned OK */
bool forked = false;

active proctype Owner() {
  atomic { nonce[1] = true; gword[1] = 1; data0[1] = 3; data1[1] = 3; data0[2] = 2; data1[2] = 2; data0[4] = 2; data1[4] = 2 };
  if
  :: atomic { true -> forked = true; data0[3] = 3; data1[3] = 3;
#ifdef LITERAL_FORK
       nonce[3] = true; gword[3] = 1          /* the child has a frozen copy of nonce and grant words */
#endif                                        /* repair: MADV_WIPEONFORK on the page(s) that hold them */
     }
  :: true
  fi;
  atomic { data0[1] = 1; data1[1] = 1 };      /* g1's bytes, before the reader asks */
  /* life goes on, ends, or execs at any point from here */
#ifdef M_GEN_AFTER
  data0[1] = 2; data1[1] = 2; gword[1] = 0;
#else
  gword[1] = 0;                               /* revocation: the generation changes before the memory may change */
  ok = true;
  data0[1] = 2; data1[1] = 2;
#endif
  gword[1] = 2                                /* the same memory again: g2 */
}
active proctype Pid() {                       /* exit or exec of the owner, then the pid comes back */
  if
  :: pidis = 4
  :: pidis = 0;
     if :: pidis = 2 :: atomic { forked -> pidis = 3 } :: true fi
  :: true
  fi
}
active proctype Reader() {
  byte m, n, a, b, w;
  bool late;
  (data0[1] == 1 && data1[1] == 1);           /* the grant is known, g1's bytes are there */
  atomic { m = pidis; late = ok };
#ifdef M_NONCE_OWN_CALL
  n = nonce[m];
  m = pidis;                                    /* a second call: the pid may mean somebody else now */
  a = data0[m]; b = data1[m]; w = gword[m];
  w = (m == 2 -> 1 : w);                      /* a stranger may hold anything there */
#else
  n = nonce[m];
#ifdef M_WORD_FIRST
  w = gword[m];
#endif
  a = data0[m]; b = data1[m];
#ifndef M_WORD_FIRST
  w = gword[m];
#endif
#endif
#ifdef M_NO_NONCE
  n = 1; w = (m == 2 -> 1 : w);               /* a stranger's memory may hold anything, also what looks like our word */
#endif
#ifdef M_NO_WORD
  w = 1;
#endif
  if
  :: m != 0 && n && w == 1 ->                 /* COMPLETED */
     assert(m == 1);                          /* S1: that instance's memory */
     assert(a == 1 && b == 1);                /* S2, S3, S8, S9: its bytes, all read before the revocation */
     assert(!late)                            /* S2: a read begun after OK is never COMPLETED */
  :: else
  fi
}
#endif
