/* ghost.pml: RETIRE and later WRITEs   (S8 for WRITE; README.md says what that is)
 *
 * One initiator writes op1 (two chunks) to a block, later op2 (two chunks) to the same block. Paths 1..3 are data
 * connections (or QPs) of one (initiator instance, target instance) pair. What was written to a path sits in its socket
 * queue (or in the fabric) until the target's handler takes it: any time later, also after the initiator closed it.
 * The target can be stopped at any point (any run in which it takes no further step). Messages of the session are
 * ordered; the session can break and come back, RETIRE is then sent again.
 *
 * -DRDMA: the target's end of a path exists before the initiator can use it (HANDSHAKE); else (TCP) a connection is
 * accepted, and shows its token, whenever the target gets to it.
 */
#ifndef NC
#define NC 3
#endif
#define OPEN_(c)  (cst[c] == 2)
mtype = { RETIRE, RETIRED };
chan toT = [2] of { mtype, byte };
chan toI = [2] of { mtype, byte };

byte cst[NC+1];      /* target's end: 0 not there, 1 dialled, in the accept queue, 2 handler waiting, 3 handler inside a chunk, 4 dead */
bool token[NC+1] = true;  /* the target would still accept this path's token */
byte q[NC+1];        /* operation in the path's queue, 0 none */
byte left[NC+1];     /* chunks of it not applied yet */
byte rep[NC+1];      /* reply on its way back on that path: operation */
byte app[3];         /* bit set of chunks of op applied to the block, ever */
byte blk[2];         /* who wrote chunk 0 and chunk 1 last */
bool op2done = false, op1ended = false, op1completed = false, sess = true;
byte used = 0;       /* paths made so far */
bool quiet = true;   /* all paths of ended or failed operations are known to be retired */

inline newpath(op) {         /* action: ghost.new_path */
  used++;
#ifdef RDMA
  cst[used] = 2;
#else
  cst[used] = 1;
#endif
  q[used] = op; left[used] = 2
}

/* target: one handler per path */
proctype Handler(byte c) {
  byte k;
  end: do
  /* action: ghost.accept */
  :: atomic { cst[c] == 1 -> if :: token[c] -> cst[c] = 2 :: else -> cst[c] = 4 fi }
  /* action: ghost.chunk_enter */
  :: atomic { cst[c] == 2 && q[c] != 0 && left[c] > 0 -> cst[c] = 3 }
  /* action: ghost.chunk_leave */
  :: atomic { cst[c] == 3 ->                       /* the bytes of one chunk reach user memory */
       assert(!(q[c] == 1 && op2done));            /* S8: nothing of an ended operation lands over a later COMPLETED one */
       k = 2 - left[c]; blk[k] = q[c]; app[q[c]] = app[q[c]] | (1<<k); left[c]--; k = 0;
       cst[c] = 2;
       if :: left[c] == 0 -> rep[c] = q[c]; q[c] = 0 :: else fi }
  :: cst[c] == 4 -> break
  od
}
proctype Target() {
  byte c;
  end: do
  /* action: ghost.retire */
  :: atomic { toT?RETIRE,c ->
       if
       :: cst[c] < 2 ->
#ifndef LITERAL_TOKEN
          token[c] = false;                        /* repair: the token dies first, known connection or not */
#endif
          skip
       :: cst[c] == 2 -> token[c] = false; cst[c] = 4
       :: cst[c] == 3 -> token[c] = false
       :: cst[c] == 4 -> skip
       fi };
     /* the answer waits until the handler has left its chunk */  /* action: ghost.retire_answered */
#ifndef M_RETIRED_EARLY
     atomic { cst[c] != 3 -> if :: cst[c] == 2 && !token[c] -> cst[c] = 4 :: else fi };
#else
     skip;
#endif
     atomic { if :: sess && len(toI) < 2 -> toI!RETIRED,c :: else fi; c = 0 }
#ifdef M_RETIRED_EARLY
     /* the handler is killed when it leaves its chunk, but the answer did not wait for that */
#endif
  od
}
proctype Net() {
  end: do
  /* action: ghost.session_down */
  :: atomic { sess -> sess = false; do :: len(toT) > 0 -> toT?_,_ :: else -> break od; do :: len(toI) > 0 -> toI?_,_ :: else -> break od }
  od
}

proctype Initiator() {
  byte cur = 0, r;
  bool sent;
  /* op1 */
  atomic { newpath(1); cur = used };
again:
  if
  /* action: ghost.completed */
  :: atomic { rep[cur] == 1 -> op1ended = true; op1completed = true; assert(app[1] == 3) }   /* S8: COMPLETED means every byte */
  /* error, timeout of the path, or the deadline: local quiet only */  /* action: ghost.lost */
  :: atomic { true -> quiet = false }
  fi;
  if
  :: op1completed -> goto second
  :: else
  fi;
#ifdef M_RETRY_AT_ONCE
  if :: atomic { used < NC -> newpath(1); cur = used; goto again } :: true fi;
#endif
#ifdef M_RETIRE_SKIPPED
  quiet = true;
#endif
  sent = false;
  do
  :: quiet -> break
  /* re-HELLO: RETIRE is sent again */  /* action: ghost.session_up */
  :: atomic { !sess -> sess = true; sent = false }
  /* action: ghost.ask_retire */
  :: atomic { sess && !sent && len(toT) < 2 -> toT!RETIRE,cur; sent = true }
  /* action: ghost.retired */
  :: atomic { toI?RETIRED,r -> if :: r == cur -> quiet = true :: else fi; r = 0 }
  /* the deadline passed: UNKNOWN, remote_quiet=false; go on asking */  /* action: ghost.unknown */
  :: !op1ended -> op1ended = true
  od;
  sent = false;
  if
  /* the retry, elsewhere */  /* action: ghost.retry */
  :: atomic { !op1ended && used < NC-1 -> newpath(1); cur = used; goto again }
  :: op1ended = true
  fi;
second:
  /* op2: waits for quiet (mutants: does not) */  /* action: ghost.later_write */
  if
  :: atomic { used < NC -> newpath(2); cur = used }
#ifndef NO_REUSE
  :: atomic { op1completed && cst[cur] != 4 && q[cur] == 0 -> rep[cur] = 0; q[cur] = 2; left[cur] = 2 }   /* same path: in order behind op1 */
#endif
  fi;
  atomic { rep[cur] == 2 -> op2done = true; assert(app[2] == 3 && blk[0] == 2 && blk[1] == 2) }     /* S8: op2's bytes, all of them */
}
#ifdef M_LATER_WRITE_GOES
/* op1 ended UNKNOWN, RETIRE is unanswered, and op2 goes anyway (e.g. under another name of the same instance) */
proctype Later() {
  byte c;
  atomic { op1ended && !quiet && used < NC -> newpath(2); c = used };
  atomic { rep[c] == 2 -> op2done = true }
}
#endif
init { atomic { run Target(); run Net(); run Initiator(); run Handler(1); run Handler(2); run Handler(3);
#ifdef M_LATER_WRITE_GOES
  run Later()
#endif
} }
